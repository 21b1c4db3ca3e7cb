package guard

import (
	"fmt"
	"time"
)

// Concurrency bounds what goes on at once: requests of a guard or a route, calls
// to a dependency. Either you say how many (Max), or it is found out (SelfTuned).
// The zero value means no bound. Negative values are errors.
//
// A request counts until its handler returns, or has hijacked the connection; if
// the bound is self-tuned, also only until it flushes, since what streams may go
// on for hours. A call counts until it is done, which for a Transport is the end
// of the response's body.
type Concurrency struct {
	// Max is how many at once; 0 means no bound.
	Max int
	// SelfTuned finds the number of places with which the server delivers the most
	// without a queue, and follows it when the server, its dependencies or the
	// requests change. It needs nothing to be set, and is an error beside Max.
	SelfTuned bool
	// Floor and Ceiling keep a self-tuned number within bounds. 0 means 1, and no
	// ceiling. They are an escape hatch: the law is better off without.
	Floor, Ceiling int
	// MaxWait is how long one waits for a place at the most, in a queue that is
	// ordered by [Priority]; a quarter of it (1 ms at the least) while there is
	// always a queue. Who would wait longer, or beyond the deadline of its context,
	// is refused at once. 0 means that with Max nobody waits, and with SelfTuned
	// as long as a request takes, or 5 ms if that is longer.
	MaxWait time.Duration
}

// queued reports whether it takes a bound to keep c, and not only a count.
func (c Concurrency) queued() bool { return c.SelfTuned || c.MaxWait > 0 }

// check returns what is invalid in c, the field of that name.
func (c Concurrency) check(field string) error {
	for _, f := range []struct {
		name  string
		value int
	}{{"Max", c.Max}, {"Floor", c.Floor}, {"Ceiling", c.Ceiling}} {
		if f.value < 0 {
			return fmt.Errorf("%s.%s is %d, want >= 0", field, f.name, f.value)
		}
	}
	switch {
	case c.MaxWait < 0:
		return fmt.Errorf("%s.MaxWait is %v, want >= 0", field, c.MaxWait)
	case c.SelfTuned && c.Max > 0:
		return fmt.Errorf("%s.Max is %d beside SelfTuned, want one of them, or a Ceiling", field, c.Max)
	case !c.SelfTuned && c.Floor > 0:
		return fmt.Errorf("%s.Floor is %d, want 0 without SelfTuned", field, c.Floor)
	case !c.SelfTuned && c.Ceiling > 0:
		return fmt.Errorf("%s.Ceiling is %d, want 0 without SelfTuned", field, c.Ceiling)
	case !c.SelfTuned && c.Max == 0 && c.MaxWait > 0:
		return fmt.Errorf("%s.MaxWait is %v, want 0 where there is no bound", field, c.MaxWait)
	case c.Ceiling > 0 && c.Floor > c.Ceiling:
		return fmt.Errorf("%s.Floor is %d, more than the Ceiling of %d", field, c.Floor, c.Ceiling)
	}
	return nil
}
