package guard

import "math"

// A law sets how many places a self-tuned bound has. It knows neither how many
// workers there are behind it nor how long they should take, and looks for the
// least number of places that delivers all that can be had.
//
// It goes by spans, each of which is a few dozen requests (see measure). What one
// of them took when nothing queued, times how many of them are delivered in a
// second, is how many places they need: Little's law, as TCP BBR has it for the
// bytes in flight (N. Cardwell et al., "BBR: Congestion-Based Congestion Control",
// ACM Queue 14, 2016). What is hard is to know what a request takes when nothing
// queues, while everything does. So
//
//	free      places were not scarce: the time seen is that without a queue
//	scarce    the limit follows the work that is delivered, times that time
//	trial     for one span in a while there are 0.6 of the places. If that makes
//	          requests faster, they had queued, and the time is corrected
//
// and every cut of the limit is looked at afterwards: if the work delivered fell
// with it, then the places were in use, and not a queue. The cut is undone, and
// the time that was seen is believed.
//
// All times are multiples of what was expected (see workload), so that another
// mix of requests is no news.
type law struct {
	limit     float64
	plain     float64 // what a request takes when nothing queues; 0: not known yet
	work      float64 // that is delivered, smoothed, while places are scarce
	opening   bool    // it is still to be seen how much can be delivered
	before    point   // while opening: the span before
	high      point   // from where the limit was cut; busy 0: from nowhere
	trial     bool    // this span is one
	from      point   // from where it went
	spans     int     // scarce ones since the last trial
	scarceFor float64 // seconds since then
	every     int     // spans between trials
	cut       float64 // of places in a trial
	low       int     // spans that asked for a cut
}

// A point is where a law was.
type point struct{ limit, busy, work float64 }

// A span is what was seen while some requests came to their end.
type span struct {
	work    float64 // delivered per second, in seconds that were expected: places it takes
	busy    float64 // places, on average
	stretch float64 // how long a request took, as a multiple of what was expected
	seconds float64
	scarce  bool // there was no place free for most of the time
}

const (
	openLimit = 8.0 // at the start
	headroom  = 1.5 // over the places needed: they must not run dry between two requests
	trialCut  = 0.6
	firstCut  = 0.4 // where more places have just delivered no more
	deepest   = 0.25
	trialRest = 20  // spans between trials, at the most
	trialWait = 5.0 // seconds of scarcity between trials, once nothing is learned any more
)

// The reasons of a move, as logs and snapshots tell them.
const (
	movedFree   = "load below the limit"
	movedFollow = "follows the work delivered"
	movedTrial  = "trial with fewer places"
	movedTried  = "end of a trial"
	movedUndone = "fewer places delivered less"
	movedByHand = "tuned"
	movedOpened = "more places delivered no more"
)

func newLaw() law { return law{limit: openLimit, opening: true, every: 2, cut: trialCut} }

// next takes a span, and returns the limit for the next one, and why.
func (l *law) next(s span) (limit float64, why string) {
	switch {
	case !s.scarce:
		why = l.free(s)
	case l.trial:
		why = l.tried(s)
	default:
		why = l.scarce(s)
	}
	if l.trial {
		return min(math.Round(l.limit*l.cut), math.Round(l.limit)-1), why
	}
	return l.limit, why
}

// free learns from a span in which nobody had to wait for a place.
func (l *law) free(s span) string {
	l.trial, l.high, l.low = false, point{}, 0
	switch {
	case l.plain == 0:
		l.plain = s.stretch
	case s.stretch < l.plain:
		l.plain += 0.3 * (s.stretch - l.plain)
	default: // there may be a queue behind the guard all the same
		l.plain += 0.02 * (s.stretch - l.plain)
	}
	// Room for twice as much. Not a multiple of what is in flight: that would
	// follow a queue up for ever.
	l.limit = max(l.limit, 2*s.work*l.plain+1)
	return movedFree
}

// scarce follows the work, looks at what became of the last cut, and begins a
// trial when it is time.
func (l *law) scarce(s span) string {
	if l.plain == 0 {
		l.plain = s.stretch
	}
	l.plain += 0.5 * min(s.stretch-l.plain, 0)
	if l.work == 0 || l.opening {
		l.work = s.work
	} else {
		l.work += 0.4 * (s.work - l.work)
	}
	if l.opening {
		if s.work < 1.25*l.before.work { // it has not grown with the limit
			l.opening, l.limit = false, l.before.limit
			l.trial, l.from, l.cut = true, l.before, firstCut
			return movedOpened
		}
		l.before = point{l.limit, s.busy, s.work}
	}
	if l.high.busy > 0 && s.busy < 0.8*l.high.busy {
		if elasticity(l.high, s) > 0.5 {
			l.plain = max(l.plain, s.stretch)
			l.limit, l.work = l.high.limit, l.high.work
			l.high = point{}
			l.every, l.spans, l.scarceFor = 4, 0, 0
			return movedUndone
		}
		l.high = point{l.limit, s.busy, s.work}
	}
	if s.busy >= l.high.busy {
		l.high = point{l.limit, s.busy, s.work}
	}
	l.spans++
	l.scarceFor += s.seconds
	if l.spans >= l.every && (l.every < trialRest || l.scarceFor > trialWait) && l.limit >= 1.5 {
		l.trial, l.from = true, point{l.limit, s.busy, l.work}
		return movedTrial
	}
	over := headroom
	if l.opening {
		over = 2
	}
	want := l.work*l.plain*over + 0.5
	if want < 0.8*l.limit {
		if l.low++; l.low < 2 { // half of the span may have been before a change
			return ""
		}
	}
	l.low = 0
	l.limit = max(1, l.limit/2, min(2*l.limit+1, want))
	return movedFollow
}

// tried learns from a trial.
func (l *law) tried(s span) string {
	l.trial = false
	e := 1.0
	if s.busy < l.from.busy {
		e = elasticity(l.from, s)
	}
	was := l.plain
	switch {
	case e < 0.3: // it delivers as much without that queue
		l.plain = min(l.plain, s.stretch)
	case s.stretch < l.plain:
		l.plain += 0.7 * (s.stretch - l.plain)
	default: // with fewer places, and still more: the service itself, or what was left of a queue?
		l.plain += min(e, 1) * (s.stretch - l.plain)
	}
	switch {
	case e < 0.3 && l.plain < 0.9*was: // there may be more queue
		l.every, l.cut = 2, max(deepest, 0.7*l.cut)
	case l.plain < 0.9*was:
		l.every, l.cut = 2, trialCut
	default:
		l.every, l.cut = min(trialRest, l.every*2), trialCut
	}
	l.spans, l.scarceFor, l.high = 0, 0, point{}
	l.limit = max(1, min(1.5*l.from.limit, l.work*l.plain*headroom+0.5))
	return movedTried
}

// elasticity tells how much of a cut of what is busy the work delivered has
// followed: 1 where there was no queue, 0 where it was all queue.
func elasticity(from point, s span) float64 {
	return math.Log(from.work/s.work) / math.Log(from.busy/s.busy)
}
