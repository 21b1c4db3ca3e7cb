package guardcassandra

import "errors"

var (
	errNoDependency = errors.New("guardcassandra: the dependency is nil")
	errPanicked     = errors.New("guardcassandra: it panicked, or ended its goroutine")
	errIterClosed   = errors.New("guardcassandra: the iterator is closed")
	errAbandoned    = errors.New("guardcassandra: an iterator was abandoned")
)
