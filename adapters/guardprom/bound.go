package guardprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"example.com/guard"
)

// boundDescs are what there is of a bound with a queue: of the guard, a route or
// a dependency.
type boundDescs struct {
	selfTuned, waiting, shedding, shed, noQueue *prometheus.Desc
}

// newBoundDescs describes a bound on what: requests or calls.
func newBoundDescs(b *builder, prefix string, of []string, what string) boundDescs {
	desc := func(name, help string, own ...string) *prometheus.Desc {
		return b.desc(prefix+"bound_"+name, help, of, own...)
	}
	return boundDescs{
		selfTuned: desc("self_tuned", "1 if the bound finds its limit itself, 0 if the limit was given."),
		waiting:   desc("waiting", "How many "+what+" wait for a place."),
		shedding:  desc("shedding", "1 if the bound has refused "+what+" in the last second, else 0."),
		shed:      desc("shed_total", "How many "+what+" the bound has refused, by priority; in shadow mode, would have.", "priority"),
		noQueue:   desc("no_queue_seconds", "How long one of the "+what+" is thought to take while nothing queues."),
	}
}

func (d *boundDescs) collect(out sink, b *guard.BoundSnapshot, of []string) {
	if b.Limit == 0 {
		return // there is no queue
	}
	out.gauge(d.selfTuned, truth(b.SelfTuned), of...)
	out.gauge(d.waiting, float64(b.Waiting), of...)
	out.gauge(d.shedding, truth(b.Shedding), of...)
	out.counters(
		d.shed, of,
		count{guard.PriorityCritical.String(), b.Shed.Critical},
		count{guard.PriorityNormal.String(), b.Shed.Normal},
		count{guard.PrioritySheddable.String(), b.Shed.Sheddable},
	)
	if b.NoQueue > 0 {
		out.gauge(d.noQueue, seconds(b.NoQueue), of...)
	}
}
