// Package browsertest tests the dashboard in a real browser. It is a module of its
// own, so that nobody who uses the library builds what drives the browser.
package browsertest
