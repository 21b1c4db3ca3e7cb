package guard

import "math"

// A law sets how many places a self-tuned bound has. It knows neither how many
// workers there are behind it nor how long they should take, and looks for the
// least number of places that delivers all that can be had.
//
// It goes by spans, each of which is a few dozen requests (see measure). What one
// of them takes when nothing queues, times how many of them are delivered in a
// second, is how many places they need: Little's law, as TCP BBR has it for the
// bytes in flight (N. Cardwell et al., "BBR: Congestion-Based Congestion Control",
// ACM Queue 14, 2016). What is hard is to know what a request takes when nothing
// queues, while everything does. After a span it is in one of these:
//
//	free      Places were not scarce. The time seen is that without a queue, and
//	          the limit leaves room for twice the load. If requests take three
//	          times as long as they did, there is a queue behind the guard after
//	          all, or the service has become slower: places are taken away until
//	          they are scarce, since then it can be told which.
//	following Places are scarce. The limit follows the work that is delivered,
//	          times that time, with headroom.
//	trial     For one span in a while there are fewer places, most often 0.6 of
//	          them. If as much is delivered, requests had queued: the time is
//	          corrected, and the next trial goes deeper. If less is delivered,
//	          the places were in use.
//	starved   There are places, but requests wait for a processor before they get
//	          here: the limit follows the work, and nothing else is concluded.
//	lost      Most clients have gone before their answer, having waited for longer
//	          than usual: the limit is halved, down to what is still delivered.
//	opening   At the start, and when less is delivered though nobody has taken
//	          places away: then it is not known whether the server can do less, or
//	          takes longer. The places are doubled for as long as that delivers
//	          more, and a trial follows.
//
// Every cut is looked at afterwards: if the work delivered fell with it, it is
// undone, and the time that was seen is believed.
//
// All times are multiples of what was expected (see workload), so that another
// mix of requests is no news.
type law struct {
	limit float64
	plain float64 // what a request takes when nothing queues; 0: not known yet
	work  float64 // that is delivered, smoothed, while places are scarce

	armed  bool    // the last span was free
	steady float64 // the work delivered when nothing was wrong
	low    int     // spans that have asked for a cut, one after the other
	rising bool    // since the last free span, all places were taken and nothing queued
	high   point   // from where the limit was cut; busy 0: from nowhere

	losses int // spans in which most clients had gone, one after the other

	opening bool
	young   bool  // for the first time
	before  point // the span before, while opening

	trial     bool    // this span is one
	from      point   // from where it went
	cut       float64 // of the places, in a trial
	spans     int     // scarce ones since the last trial
	scarceFor float64 // seconds since then
	every     int     // spans between trials
}

// A point is where a law was.
type point struct{ limit, busy, work float64 }

// A span is what was seen while some requests came to their end.
type span struct {
	work    float64 // delivered per second, in seconds that were expected: places it takes
	busy    float64 // places, on average
	stretch float64 // how long a request took, as a multiple of what was expected
	seconds float64
	lost    bool    // most clients had gone before their answer; only work and seconds are told
	scarce  bool    // there was no place free for most of the time
	starved bool    // there was, but requests waited for a processor before they got to the guard
	least   float64 // places that keep the processors busy, if they have been scarce lately; or 0
}

const (
	openLimit = 8.0 // at the start
	headroom  = 1.5 // over the places needed: they must not run dry between two requests
	roomFree  = 2.0 // likewise, where places are not scarce
	trialCut  = 0.6
	firstCut  = 0.4 // where more places have just delivered no more
	deepest   = 0.25
	trialRest = 20  // spans between trials, at the most
	trialWait = 5.0 // seconds of scarcity between trials, once nothing is learned any more

	allQueue = 0.3 // an elasticity up to which a cut has cost nothing
	allUsed  = 0.5 // from which on it has cost what it took
)

// The reasons of a move, as logs and snapshots tell them.
const (
	movedFree    = "load below the limit"
	movedFollow  = "follows the work delivered"
	movedTrial   = "trial with fewer places"
	movedTried   = "end of a trial"
	movedStarved = "requests wait for a processor"
	movedLost    = "clients had gone"
	movedUndone  = "fewer places delivered less"
	movedByHand  = "tuned"
	movedOpen    = "may more places deliver more"
	movedOpened  = "more places delivered no more"
)

func newLaw() law { return law{limit: openLimit, opening: true, young: true, every: 2, cut: trialCut} }

// next takes a span, and returns the limit for the next one, and why.
func (l *law) next(s span) (limit float64, why string) {
	if !s.lost {
		l.losses = 0
	}
	switch {
	case s.lost:
		why = l.lost(s)
	case s.starved:
		why = l.starved(s)
	case l.trial && (s.scarce || l.elasticity(s) < allQueue): // even if fewer places were enough
		why = l.tried(s)
	case !s.scarce:
		why = l.free(s)
	default:
		why = l.scarce(s)
	}
	l.limit = max(l.limit, s.least)
	if l.trial {
		return min(math.Round(l.limit*l.cut), math.Round(l.limit)-1), why
	}
	return l.limit, why
}

// free learns from a span in which nobody had to wait for a place.
func (l *law) free(s span) string {
	l.trial, l.high, l.low = false, point{}, 0
	if l.steady == 0 || !l.armed {
		l.steady = s.work
	}
	l.steady += 0.3 * (s.work - l.steady)
	l.armed, l.opening, l.young = true, false, false
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
	room := roomFree*s.work*l.plain + 1
	if s.stretch > 3*l.plain { // there is a queue, or the service has become slower: find out
		room = max(room, 0.8*l.limit)
	} else {
		room = max(room, l.limit)
	}
	l.limit = room
	return movedFree
}

// lost gives way where clients wait for longer than they can. Then there may be
// places enough, and even some free: it is the clients who go, and what is done
// for them delivers nothing.
func (l *law) lost(s span) string {
	l.trial, l.low, l.armed, l.rising, l.opening, l.young, l.high = false, 0, false, false, false, false, point{}
	if l.losses++; l.losses < 2 { // it may have been a pause that is over
		return ""
	}
	l.work = s.work
	l.limit = min(l.limit, max(1, l.limit/2, l.work*l.plain*headroom+0.5))
	return movedLost
}

// starved follows the work, too. It was not for want of places that no more of
// them were taken: how many were, tells nothing, and more would not help.
func (l *law) starved(s span) string {
	l.trial, l.low = false, 0
	if l.plain == 0 {
		l.plain = s.stretch
	}
	l.plain += 0.5 * min(s.stretch-l.plain, 0)
	l.byProcessors(s)
	l.work += 0.4 * (s.work - l.work)
	l.steady = l.work
	l.limit = max(1, l.limit/2, min(2*l.limit+1, l.work*l.plain*headroom+0.5))
	return movedStarved
}

// byProcessors notes that it is the processors that bound the work, which no other
// number of places could change.
func (l *law) byProcessors(s span) {
	if l.work == 0 {
		l.work = s.work
	}
	l.armed, l.rising, l.opening, l.young, l.high = false, false, false, false, point{}
}

// scarce follows the work, looks at what became of the last cut, and begins a
// trial when it is time.
func (l *law) scarce(s span) string {
	if l.plain == 0 {
		l.plain = s.stretch
	}
	l.plain += 0.5 * min(s.stretch-l.plain, 0)
	if s.least > 0 {
		l.byProcessors(s)
	}
	if l.armed {
		l.armed, l.before, l.work = false, point{}, s.work
		l.opening, l.rising = l.opening || s.stretch > 2*l.plain && s.work < 0.6*l.steady, true
	}
	if l.opening {
		return l.open(s)
	}
	l.work += 0.4 * (s.work - l.work)
	if l.rising = l.rising && s.stretch < 1.2*l.plain; l.rising { // all places are taken, and nothing queues
		l.low, l.steady, l.limit = 0, l.work, 2*l.limit+1
		return movedFollow
	}
	if l.high.busy > 0 && s.busy < 0.8*l.high.busy {
		if elasticity(l.high, s) > allUsed {
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
	if l.spans >= l.every && (l.every < trialRest || l.scarceFor > trialWait) && l.limit >= 1.5 && l.limit*l.cut >= s.least {
		l.trial, l.from = true, point{l.limit, s.busy, l.work}
		return movedTrial
	}
	want := l.work*l.plain*headroom + 0.5
	if want < 0.8*l.limit {
		if l.low++; l.low < 2 { // half of the span may have been before a change
			return ""
		}
		if s.work < 0.7*l.steady && s.least == 0 { // and nobody has taken places away
			l.opening, l.before = true, point{}
			return l.open(s)
		}
	}
	l.low, l.steady = 0, l.work
	l.limit = max(1, l.limit/2, min(2*l.limit+1, want))
	return movedFollow
}

// open adds places for as long as that delivers more: at the start, and where
// requests have become slower, of which it is not known whether the server can do
// less now, or only takes longer.
func (l *law) open(s span) string {
	was, here := l.before, point{l.limit, s.busy, s.work}
	switch {
	case s.work < 0.9*was.work: // it has just become slower: what does it deliver as it now is?
		l.opening, l.low, l.steady, l.work = false, 0, s.work, s.work
		l.trial, l.from, l.cut, l.every = true, here, was.limit/l.limit, 2
		return movedOpened
	case s.work < 1.25*was.work: // back, and see what fewer deliver
		l.opening, l.low, l.steady, l.work = false, 0, was.work, was.work
		l.limit = was.limit
		l.trial, l.from, l.cut, l.every = true, was, firstCut, 2
		return movedOpened
	}
	l.work, l.before = s.work, here
	if l.young && was.work > 0 && s.work > 1.7*was.work {
		l.limit *= 3
	} else {
		l.limit = 2*l.limit + 1
	}
	return movedOpen
}

// tried learns from a trial.
func (l *law) tried(s span) string {
	cut := l.cut
	l.trial, l.young = false, false
	e, was := l.elasticity(s), l.plain
	switch {
	case s.busy > 0.9*l.from.busy: // it was no trial
		l.plain = min(l.plain, s.stretch)
	case e < allQueue: // it delivers as much without that queue
		l.plain = min(l.plain, s.stretch)
	case s.stretch < l.plain:
		l.plain += 0.7 * (s.stretch - l.plain)
	case s.least > 0: // it has waited for a processor, too
	default: // with fewer places, and still more: the service itself, or what was left of a queue?
		l.plain += min(e, 1) * (s.stretch - l.plain)
	}
	if l.plain < 0.95*was { // there is more to learn
		l.every = 2
	} else {
		l.every = min(trialRest, l.every*2)
	}
	if e < allQueue { // it may do with even fewer
		l.cut = max(deepest, 0.7*cut)
	} else {
		l.cut = trialCut
	}
	l.spans, l.scarceFor, l.high = 0, 0, point{}
	least := 1.0
	if e < allQueue {
		least = max(1, cut*l.from.limit) // fewer have not been tried
	}
	l.limit = max(least, min(1.5*l.from.limit, l.work*l.plain*headroom+0.5))
	return movedTried
}

// elasticity is that of a trial.
func (l *law) elasticity(s span) float64 {
	if s.busy < l.from.busy {
		return elasticity(l.from, s)
	}
	return 1 // nothing was cut
}

// elasticity tells how much of a cut of what is busy the work delivered has
// followed: 1 where there was no queue, 0 where it was all queue.
func elasticity(from point, s span) float64 {
	return math.Log(from.work/s.work) / math.Log(from.busy/s.busy)
}
