package benchmarks_test

// notes say why guard is behind in a job, or in the jobs whose names begin so. One is
// printed only where guard is behind: it stays true, and harmless, where it is not.
var notes = map[string]string{
	"Bound/admit":           "as in Handler/admit; chi's Throttle takes from two channels, and does nothing else.",
	"Bound/refuse":          "as in Handler/refuse.",
	"Bound/self-tuned":      "the queue in front of a bound is taken by whoever enters and leaves; go-zero's shedder adds to a few counters, and keeps no queue.",
	"Breaker/closed":        "go-resiliency has no window: until a call fails it does nothing but load a word. Each call of guard's is counted, and the clock is read.",
	"Breaker/open":          "each refusal is counted, told to hooks and the log, and the clock says whether it is time for a probe. gobreaker and failsafe-go count no refusals, and go-resiliency has a goroutine wait.",
	"Client/closed":         "a call lasts until the response's body is at its end or closed, so that a body that breaks off counts: it is wrapped. What is made by hand judges by the header.",
	"Client/closed-served":  "as in Client/closed, and the end of the request is waited for: a body that nobody reads gives its place back then.",
	"Client/closed-timeout": "as in Client/closed, and the timeout is for the header alone, so that it has a timer of its own beside the context.",
	"Client/open":           "as in Breaker/open.",
	"Curve/routes":          "the stage of the guard and that of the route each count, time and recover, and what they have taken is given back if the other refuses.",
	"Curve":                 "what is counted for each of so many is apart, and no longer in the cache where there are very many.",
	"EndToEnd/flood":        "as in Handler/refuse, and the longer answer is sent.",
	"Handler/admit":         "the requests in flight, outcomes and times are counted, and Exempt is asked. What is made by hand counts nothing.",
	"Handler/refuse":        "a problem body in the format that the client accepts, with a request id, the time to come back, and headers that keep it out of caches. The others send a line of text.",
	"Heap":                  "httprate keeps a hash of 64 bits instead of the key, and forgets it with its window: keys whose hashes are the same share a count.",
	"Keyed":                 "go-limiter keeps every key for half a day, and a map of rate.Limiter for ever, so that those who look for one share a lock, or need none. guard bounds how many there are, and may have to forget one: it takes the lock of a shard.",
	"Contention":            "failsafe-go's smooth limiter compares two instants, and knows no burst; its bursty one counts in windows, and admits more.",
	"Limiter":               "failsafe-go's smooth limiter compares two instants, and knows no burst; its bursty one counts in windows, and admits more.",
	"Request":               "as in Handler/admit, for which the breaker, which needs less, does not always make up.",
	"Breaker/one-in-four":   "a failure is looked at for what it is (an answer, another dependency's, of a context, a refusal), and becomes an error that names the dependency and says when to come back.",
}
