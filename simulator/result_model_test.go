package simulator_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A server has recovered when 90 % of what is offered, or of the capacity if that
// is less, comes in time for a second.
func TestRecovery(t *testing.T) {
	const capacity, perBin = 400, 40
	sc := Scenario{Shape: shapeA, Measure: 10 * time.Second}
	for _, tt := range []struct {
		name    string
		arrived int
		share   func(second int) float64 // in time, of the capacity
		want    time.Duration
	}{
		{"at once", perBin, func(int) float64 { return 1 }, 0},
		{"never", perBin, func(int) float64 { return 0.85 }, -1},
		{"after three seconds", perBin, func(s int) float64 { return map[bool]float64{true: 0.5, false: 0.95}[s < 5] }, 2900 * time.Millisecond},
		{"more is offered than can be done", 5 * perBin, func(int) float64 { return 0.95 }, 0},
		{"less is", perBin / 2, func(int) float64 { return 0.48 }, 0},
	} {
		r := newResult(&sc)
		require.Equal(t, float64(capacity), r.capacity)
		for i := range r.Bins {
			r.Bins[i].Arrived = tt.arrived
			r.Bins[i].Became[InTime] = int(perBin * tt.share(i/10))
		}
		require.Equal(t, tt.want, r.Recovery(2*time.Second), tt.name)
	}
}

// Quantiles and goodput are those of the part of the run that is asked for.
func TestQuantilesAndGoodput(t *testing.T) {
	sc := Scenario{Shape: shapeA, Warmup: time.Second, Measure: time.Second}
	r := newResult(&sc)
	for i := range 100 { // the first half before the end of the warm-up
		r.answers = append(r.answers, answer{at: int64(i) * int64(2*time.Second) / 100, took: int64(i+1) * int64(20*time.Millisecond)})
	}
	r.sort()
	require.Equal(t, 1520*time.Millisecond, r.Quantile(0.5))
	require.Equal(t, 2*time.Second, r.Quantile(1))
	require.Equal(t, 20*time.Millisecond, r.QuantileIn(0, 0, time.Second))
	require.Zero(t, r.QuantileIn(0.5, time.Hour, 2*time.Hour))
	require.Zero(t, r.Goodput(), "those of the measured part are late, all but none")
	require.Equal(t, 100*50/r.capacity, r.GoodputIn(0, time.Second, 1))
	require.Equal(t, 500*50/r.capacity, r.GoodputIn(0, time.Second, 5))
}
