// Package simulator runs overload controls against a model of a server, in
// virtual time. All of it is test code: see README.md for the commands.
//
// A run is a [testing/synctest] bubble. Requests arrive by a Poisson process,
// whether or not earlier ones have been answered, and each is a goroutine that
// calls the http.Handler of a contender: guard itself, or a rival's own code,
// around a model server whose queue, workers and service times are known. So the
// controls are the real ones, with their own timers and clocks, and a minute of
// overload takes a second.
package simulator
