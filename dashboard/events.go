package dashboard

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"example.com/guard"
)

// maxEvents is how many events are kept.
const maxEvents = 200

// An event is a mark on the time line. Times and what happened come from comparing
// two snapshots: what came and went between them is not seen.
type event struct {
	Seq   uint64 `json:"seq"`  // of the sample that showed it
	Time  int64  `json:"time"` // Unix milliseconds
	Kind  string `json:"kind"` // state, overload, tuned, phase or health
	Level string `json:"level"`
	Of    string `json:"of"`             // server, route or dependency
	Name  string `json:"name,omitempty"` // of it, unless it is the server
	Text  string `json:"text"`
}

// The levels of events.
const (
	good = "good"
	warn = "warn"
	bad  = "bad"
	info = "info"
)

// events is a ring: event n, counted from 0, is at n modulo its size.
type events struct {
	ring  [maxEvents]event
	count uint64
	seq   uint64

	server               siege
	routes, dependencies []siege
}

// A siege is an overload of one bound. A bound that tunes itself begins and stops
// refusing many times while it lasts, so it is over when there was none for a while.
type siege struct{ began, last time.Time }

// calmAfter is that while.
const calmAfter = 10 * time.Second

func (e *events) put(ev event) {
	ev.Seq = e.seq
	e.ring[e.count%maxEvents] = ev
	e.count++
}

// since returns the events that samples after seq showed, oldest first.
func (e *events) since(seq uint64) []event {
	found := []event{}
	for n := e.count - min(e.count, maxEvents); n < e.count; n++ {
		if ev := e.ring[n%maxEvents]; ev.Seq > seq {
			found = append(found, ev)
		}
	}
	return found
}

// compare notes what is different in the next sample.
func (e *events) compare(was, now guard.Snapshot) {
	e.seq++
	at := now.Time.UnixMilli()
	server := func(kind, level, text string) {
		e.put(event{Time: at, Kind: kind, Level: level, Of: "server", Text: text})
	}
	if was.Phase != now.Phase {
		server("phase", warn, now.Phase)
	}
	if was.Shadow != now.Shadow {
		server("tuned", info, "shadow mode "+onOff(now.Shadow))
	}
	e.routes = append(e.routes, make([]siege, max(len(was.Routes)-len(e.routes), 0))...)
	e.dependencies = append(e.dependencies, make([]siege, max(len(was.Dependencies)-len(e.dependencies), 0))...)
	e.traffic(at, "server", "", was.Requests, now.Requests, nil)
	e.overload(now.Time, &e.server, "server", "", now.Requests.Bound)
	for i, r := range was.Routes {
		var d differences
		d.number("cost", float64(r.Cost), float64(now.Routes[i].Cost), "")
		if a, b := strings.Join(r.Needs, ", "), strings.Join(now.Routes[i].Needs, ", "); a != b {
			d = append(d, "needs "+orNone(a)+" → "+orNone(b))
		}
		e.traffic(at, "route", r.Name, r.Traffic, now.Routes[i].Traffic, d)
		e.overload(now.Time, &e.routes[i], "route", r.Name, now.Routes[i].Bound)
	}
	for i, d := range was.Dependencies {
		e.dependency(was.Time, at, d, now.Dependencies[i])
		e.overload(now.Time, &e.dependencies[i], "dependency", d.Name, now.Dependencies[i].Bound)
	}
	if (was.Health == guard.HealthFail) != (now.Health == guard.HealthFail) && now.Phase == "serving" {
		if now.Health == guard.HealthFail {
			server("health", bad, "not ready: readiness fails")
		} else {
			server("health", good, "ready again")
		}
	}
}

func (e *events) traffic(at int64, of, name string, was, now guard.Traffic, d differences) {
	d.limit("", was.Limit, now.Limit)
	for i, c := range was.Clients {
		d.limit(c.Name+" ", c.Limit, now.Clients[i].Limit)
	}
	d.bound(was.MaxInFlight, now.MaxInFlight, was.Bound, now.Bound)
	e.tuned(at, of, name, d)
}

func (e *events) tuned(at int64, of, name string, d differences) {
	if len(d) > 0 {
		e.put(event{Time: at, Kind: "tuned", Level: info, Of: of, Name: name, Text: "tuned: " + strings.Join(d, ", ")})
	}
}

func (e *events) overload(now time.Time, s *siege, of, name string, b guard.BoundSnapshot) {
	ev := event{Time: now.UnixMilli(), Kind: "overload", Of: of, Name: name}
	switch {
	case b.Shedding && s.began.IsZero():
		s.began, s.last = now, now
		ev.Level, ev.Text = bad, fmt.Sprintf("overload: refuses what is above a bound of %d", b.Limit)
		e.put(ev)
	case b.Shedding:
		s.last = now
	case !s.began.IsZero() && now.Sub(s.last) >= calmAfter:
		ev.Time = s.last.UnixMilli()
		ev.Level, ev.Text = good, fmt.Sprintf("overload is over, after %d s", int(s.last.Sub(s.began).Seconds()+1))
		e.put(ev)
		*s = siege{}
	}
}

func (e *events) dependency(lastLook time.Time, at int64, was, now guard.DependencySnapshot) {
	ev := event{Time: at, Kind: "state", Of: "dependency", Name: now.Name}
	if now.Since.After(lastLook) {
		ev.Time = min(now.Since.UnixMilli(), at)
	}
	paused := func(d guard.DependencySnapshot) bool { return d.PausedFor > 0 }
	switch {
	case was.Mode != now.Mode:
		ev.Level, ev.Text = info, "back to automatic"
		if now.Mode != guard.ModeAuto {
			ev.Level, ev.Text = warn, "held "+now.Mode.String()+" by the operator"
		}
		e.put(ev)
	case !paused(was) && paused(now):
		ev.Level, ev.Text = warn, "asks for a pause (429)"
		e.put(ev)
	case paused(was) && !paused(now) && now.State == guard.StateClosed:
		ev.Level, ev.Text = good, "the pause is over"
		e.put(ev)
	case was.State != now.State || !was.Since.Equal(now.Since):
		ev.Level, ev.Text = stateEvent(was, now)
		e.put(ev)
	}
	var d differences
	d.bound(was.MaxInFlight, now.MaxInFlight, was.Bound, now.Bound)
	a, b := was.Window, now.Window
	d.number("failure rate", 100*a.FailureRate, 100*b.FailureRate, " %")
	d.number("slow rate", 100*a.SlowRate, 100*b.SlowRate, " %")
	d.number("least calls", float64(a.MinCalls), float64(b.MinCalls), "")
	if a.SlowCall != b.SlowCall {
		d = append(d, fmt.Sprintf("slow call %v → %v", a.SlowCall, b.SlowCall))
	}
	if was.Required != now.Required {
		d = append(d, "required "+onOff(now.Required))
	}
	e.tuned(at, "dependency", now.Name, d)
}

// stateEvent says to what state a breaker has gone. The same one with another
// beginning means that it was away in between.
func stateEvent(was, now guard.DependencySnapshot) (level, text string) {
	switch now.State {
	case guard.StateOpen:
		text = "opened"
		if was.State != guard.StateClosed {
			text = "probe failed, open again"
		}
		if now.LastFailure != "" {
			text += ": " + now.LastFailure
		}
		return bad, text
	case guard.StateHalfOpen:
		return warn, "half-open: probing"
	case guard.StateClosed:
	}
	return good, "closed: calls go through"
}

// differences says what is different in two configurations.
type differences []string

func (d *differences) number(what string, was, now float64, unit string) {
	if was != now {
		*d = append(*d, what+" "+number(was)+" → "+number(now)+unit)
	}
}

func (d *differences) limit(prefix string, was, now guard.BucketSnapshot) {
	switch {
	case was.Unlimited != now.Unlimited && now.Unlimited:
		*d = append(*d, prefix+"limit "+number(was.Rate)+"/s → none")
	case was.Unlimited != now.Unlimited:
		*d = append(*d, prefix+"limit none → "+number(now.Rate)+"/s")
	default:
		d.number(prefix+"limit", was.Rate, now.Rate, "/s")
		d.number(prefix+"burst", float64(was.Burst), float64(now.Burst), "")
	}
}

// bound tells of a bound on what is in flight, but not where one that tunes itself
// has gone: it does so all the time.
func (d *differences) bound(was, now int, wasBound, nowBound guard.BoundSnapshot) {
	name := func(n int, b guard.BoundSnapshot) string {
		switch {
		case b.SelfTuned:
			return "self-tuned"
		case n == 0:
			return "none"
		}
		return strconv.Itoa(n)
	}
	if a, b := name(was, wasBound), name(now, nowBound); a != b {
		*d = append(*d, "in flight "+a+" → "+b)
	}
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func orNone(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}
