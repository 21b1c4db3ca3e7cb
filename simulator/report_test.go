package simulator_test

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A table is text in columns, in Markdown.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(row ...string) { t.rows = append(t.rows, row) }

func (t *table) String() string {
	width := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	line := func(row []string) {
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				cell, pad = pad+cell, ""
			}
			b.WriteString("| " + cell + pad + " ")
		}
		b.WriteString("|\n")
	}
	line(t.head)
	for i, w := range width {
		if i == 0 {
			b.WriteString("|" + strings.Repeat("-", w+2))
		} else {
			b.WriteString("|" + strings.Repeat("-", w+1) + ":")
		}
	}
	b.WriteString("|\n")
	for _, row := range t.rows {
		line(row)
	}
	return b.String()
}

// percent writes a share or a goodput.
func percent(p float64) string {
	if p < 9.95 {
		return fmt.Sprintf("%.1f", p)
	}
	return fmt.Sprintf("%.0f", p)
}

// span writes a time to two or three digits.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "never"
	case d == 0:
		return "0"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

// summaryHead names the columns of a summary.
func summaryHead(sc *Scenario) []string {
	head := []string{"goodput %", "p50", "p99", "refused %", "timed out %", "busy %"}
	for _, f := range sc.Faults {
		if f.Until < sc.end() {
			head = append(head, "in the fault %", "p99", "recovery")
		}
	}
	if sc.Kinds != nil {
		for _, k := range sc.Kinds {
			head = append(head, k.Name+" in time %", "p99")
		}
	}
	if sc.Clients.Herd.Size > 0 {
		head = append(head, "herd refused %", "refused again", "of", "attempts", "timed out", "all served")
	}
	return head
}

// summary returns what summaryHead names.
func summary(r *Result) []string {
	sc := r.scenario
	row := []string{
		percent(r.Goodput()), span(r.Quantile(0.5)), span(r.Quantile(0.99)),
		percent(r.Measured.Share(Refused)), percent(r.Measured.Share(TimedOut)), percent(100 * r.Utilisation),
	}
	for _, f := range sc.Faults {
		if f.Until < sc.end() {
			slow := max(1, f.Slow)
			row = append(row, percent(r.GoodputIn(f.From, f.Until, slow)), span(r.QuantileIn(0.99, f.From, f.Until)), span(r.Recovery(f.Until)))
		}
	}
	if sc.Kinds != nil {
		for kind := range sc.Kinds {
			row = append(row, percent(r.ByKind[kind].Share(InTime)), span(r.KindQuantile(0.99, kind)))
		}
	}
	if size := sc.Clients.Herd.Size; size > 0 {
		row = append(row, percent(r.Herd.Share(Refused)), strconv.Itoa(r.HerdAgain.Became[Refused]), strconv.Itoa(r.HerdAgain.Arrived),
			strconv.Itoa(r.MaxAttempts), strconv.Itoa(r.Herd.Became[TimedOut]+r.HerdAgain.Became[TimedOut]), span(r.HerdServed()))
	}
	return row
}

// timeline tells of each second of a run.
func timeline(r *Result) string {
	t := &table{head: []string{"s", "offered %", "goodput %", "refused %", "timed out %", "p50", "p99", "limit", "note"}}
	const second = int(time.Second / bin)
	for s := range len(r.Bins) / second {
		var sum Bin
		for _, b := range r.Bins[s*second : (s+1)*second] {
			sum.Arrived += b.Arrived
			for o := range b.Became {
				sum.Became[o] += b.Became[o]
			}
			sum.Limit, sum.Note = b.Limit, b.Note
		}
		from := time.Duration(s) * time.Second
		share := func(n int) string { return percent(100 * float64(n) / r.capacity) }
		t.add(strconv.Itoa(s), share(sum.Arrived), share(sum.Became[InTime]), share(sum.Became[Refused]), share(sum.Became[TimedOut]),
			span(r.QuantileIn(0.5, from, from+time.Second)), span(r.QuantileIn(0.99, from, from+time.Second)), strconv.Itoa(sum.Limit), sum.Note)
	}
	return t.String()
}
