package main

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.com/guard/adapters/guardprom"
)

// metrics is what Prometheus scrapes: the API's guard, the Go runtime and the
// process. The registry is the program's own, since several run in one process in
// tests, and whatever a library registers by itself stays out.
func (p *program) metrics() (http.Handler, error) {
	of, err := guardprom.New(p.server.guard, guardprom.Options{})
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		of, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	logger := p.config.logger
	if logger == nil {
		logger = slog.Default()
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelError),
	}), nil
}
