package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Who watches gets each update as it comes, but the server must not be held up by
// who does not read, nor by many who do.
const (
	maxStreams  = 32
	maxBehind   = 8 // updates that wait for a reader; then the stream ends
	writeWithin = 10 * time.Second
)

// A stream is somebody who watches.
type stream struct{ frames chan []byte }

// watch looks at the guard once a second until Close.
func (d *Dashboard) watch() {
	ended := false
	defer func() {
		if !ended { // a hook of the guard, which looking has called, ended the goroutine
			go d.watch()
		}
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.look()
		case <-d.stop:
			ended = true
			return
		}
	}
}

// look takes a sample, and sends it to those who watch.
func (d *Dashboard) look() {
	s := d.guard.Snapshot() // may call hooks, which may call back
	d.mu.Lock()
	before := d.past.seq
	d.past.add(s)
	watched := len(d.streams) > 0
	var u update
	if watched {
		u = d.past.since(before)
	}
	d.mu.Unlock()
	if !watched {
		return
	}
	next := d.frame(u)
	d.mu.Lock()
	defer d.mu.Unlock()
	for to := range d.streams {
		select {
		case to.frames <- next:
			if s.Phase != "refusing" {
				continue
			}
			// The server is being shut down, which waits for the stream to end.
		default: // it does not read
		}
		delete(d.streams, to)
		close(to.frames)
	}
}

// join adds a stream, unless there are as many as may be, or no more should be.
func (d *Dashboard) join() (s *stream, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.streams) >= maxStreams || d.past.last.Phase == "refusing" {
		return nil, false
	}
	s = &stream{frames: make(chan []byte, maxBehind)}
	d.streams[s] = struct{}{}
	return s, true
}

func (d *Dashboard) leave(s *stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.streams, s)
}

// serveStream sends updates as server-sent events. The server's own WriteTimeout
// is for answers that end: each write has one instead.
func (d *Dashboard) serveStream(w http.ResponseWriter, r *http.Request, after string) {
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		after = last
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return
	}
	select {
	case <-d.stop:
		refuseStream(w, "The dashboard is closed.", http.StatusServiceUnavailable)
		return
	default:
	}
	s, ok := d.join()
	if !ok {
		refuseStream(w, "Too many watch already.", http.StatusServiceUnavailable)
		return
	}
	defer d.leave(s)
	to := http.NewResponseController(w)
	send := func(body []byte) error {
		_ = to.SetWriteDeadline(time.Now().Add(writeWithin)) // not all writers have one
		if _, err := w.Write(body); err != nil {
			return err
		}
		return to.Flush()
	}
	if err := to.Flush(); err != nil {
		if errors.Is(err, http.ErrNotSupported) {
			refuseStream(w, "There is no streaming through this server.", http.StatusNotImplemented)
		}
		return
	}
	if send([]byte("retry: 2000\n")) != nil || send(d.frame(d.unseen(after))) != nil {
		return
	}
	for {
		select {
		case next, more := <-s.frames:
			if !more || send(next) != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-d.stop:
			return
		}
	}
}

// frame makes an event of an update, which is JSON and so one line. Its id is what
// a client that comes back names as Last-Event-ID.
func (d *Dashboard) frame(u update) []byte {
	return fmt.Appendf(nil, "id: %s.%d\ndata: %s\n\n", d.boot, u.Seq, d.encode(u))
}

func refuseStream(w http.ResponseWriter, why string, status int) {
	w.Header().Set("Retry-After", strconv.Itoa(int(writeWithin.Seconds())))
	http.Error(w, why, status)
}
