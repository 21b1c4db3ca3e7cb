package simulator_test

import (
	"context"
	"sync"
	"time"
)

// A job is a request, and the context of it: that ends when the client has its
// answer or gives up. Only if somebody asks for it there is a timer.
type job struct {
	clients  *clients
	kind     int
	address  int
	attempt  int
	herd     bool
	demand   float64 // work, in nanoseconds
	sent     int64
	deadline int64 // when the client gives up
	end      int64 // when the handler would return, if it has returned before

	mu    sync.Mutex // guards the fields below
	done  chan struct{}
	timer *time.Timer
	err   error
}

type jobKey struct{}

func jobOf(ctx context.Context) *job { return ctx.Value(jobKey{}).(*job) }

// Deadline implements context.Context.
func (j *job) Deadline() (time.Time, bool) {
	if !j.clients.TellDeadline {
		return time.Time{}, false
	}
	return j.clients.clock.start.Add(time.Duration(j.deadline)), true
}

// Done implements context.Context.
func (j *job) Done() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.done == nil {
		j.done = make(chan struct{})
		if j.err != nil {
			close(j.done)
		} else {
			j.timer = time.AfterFunc(time.Duration(j.deadline-j.clients.clock.now()), func() { j.finish(j.cause()) })
		}
	}
	return j.done
}

// Err implements context.Context.
func (j *job) Err() error {
	if j.clients.clock.now() >= j.deadline {
		j.finish(j.cause())
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Value implements context.Context.
func (j *job) Value(key any) any {
	if key == (jobKey{}) {
		return j
	}
	return nil
}

// AfterFunc lets package context do without a goroutine for each context that is
// derived from this one.
func (j *job) AfterFunc(f func()) (stop func() bool) {
	return time.AfterFunc(time.Duration(j.deadline-j.clients.clock.now()), f).Stop
}

func (j *job) cause() error {
	if j.clients.TellDeadline {
		return context.DeadlineExceeded
	}
	return context.Canceled
}

// hangUp ends the context, since the handler has returned.
func (j *job) hangUp() { j.finish(context.Canceled) }

func (j *job) finish(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return
	}
	j.err = err
	if j.done != nil {
		close(j.done)
		j.timer.Stop()
	}
}
