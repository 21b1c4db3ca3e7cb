package cassandratest

import "time"

// SetFault makes the server fail in another way, or with the zero [Fault] in
// none, from the next frame on. What is being answered is answered under the
// fault it came under.
func (s *Server) SetFault(f Fault) {
	s.mu.Lock()
	s.endFlappingLocked()
	s.fault = f
	s.down = f.kind == faultDown || f.kind == faultFlapping
	var conns []*conn
	if s.down {
		conns = s.takeConnsLocked()
	}
	if f.kind == faultFlapping && !s.closed {
		stop := make(chan struct{})
		s.flapping = stop
		s.running.Go(func() { s.flap(f, stop) })
	}
	s.mu.Unlock()
	closeAll(conns)
}

// endFlappingLocked makes the goroutine of a flapping fault end, if there is one.
func (s *Server) endFlappingLocked() {
	if s.flapping != nil {
		close(s.flapping)
		s.flapping = nil
	}
}

// currentFault returns what a frame that has just arrived is to be met with.
func (s *Server) currentFault() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// flap goes up and down until it is stopped.
func (s *Server) flap(f Fault, stop chan struct{}) {
	timer := time.NewTimer(f.down)
	defer timer.Stop()
	for down := true; ; {
		select {
		case <-stop:
			return
		case <-timer.C:
		}
		down = !down
		s.mu.Lock()
		if s.flapping != stop {
			s.mu.Unlock()
			return
		}
		s.down = down
		var conns []*conn
		if down {
			conns = s.takeConnsLocked()
			timer.Reset(f.down)
		} else {
			timer.Reset(f.up)
		}
		s.mu.Unlock()
		closeAll(conns)
	}
}
