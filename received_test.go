package guard_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// endsWithHeader is a RoundTripper whose caller is gone when the response comes.
type endsWithHeader struct{ cancel context.CancelFunc }

func (e endsWithHeader) RoundTrip(*http.Request) (*http.Response, error) {
	e.cancel()
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("late"))}, nil
}

// The call of a response ends by the end of the context even while RoundTrip is
// still on its way out. The race detector is who looks.
func TestContextEndsWithTheHeader(t *testing.T) {
	d := newDependency(t, guard.DependencyConfig{})
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://dependency.invalid/", nil)
		require.NoError(t, err)
		resp, err := d.Transport(endsWithHeader{cancel}).RoundTrip(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	assert.Equal(t, guard.StateClosed, d.State())
}
