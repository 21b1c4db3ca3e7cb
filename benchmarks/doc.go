// Package benchmarks measures guard against what else does the same work: the
// same jobs, one contender after the other. All of it is test code: see README.md
// for the commands, and RESULTS.md for what came of them.
package benchmarks
