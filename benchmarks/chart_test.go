package benchmarks_test

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// charted are the jobs of the chart, from its top to its bottom, and their names.
var charted = []struct{ job, label string }{
	{"Limiter/admit/serial", "take a token"},
	{"Limiter/refuse/serial", "refuse a token"},
	{"Keyed/1000000/uniform", "one client of a million"},
	{"Breaker/closed/serial", "call, breaker closed"},
	{"Breaker/open/serial", "call, breaker open"},
	{"Client/closed/serial", "HTTP call, breaker closed"},
	{"Handler/admit/serial", "middleware, admitted"},
	{"Handler/refuse/serial", "middleware, refused"},
	{"Bound/admit/serial", "middleware, in-flight bound"},
	{"Request/one-call/serial", "middleware and one call"},
}

// The colours are of the palette of Okabe and Ito, which the colour-blind can tell
// apart; the shapes are for everybody else.
var (
	guardColor = color.RGBA{0x00, 0x00, 0x00, 0xff}
	rivalColor = color.RGBA{0x00, 0x72, 0xb2, 0xff}
	gridColor  = color.Gray{0xe4}
)

// drawSpeed draws what the rivals need as multiples of what guard needs, a row for
// each job, with the name of the rival that is next to guard.
func drawSpeed(jobs []*job, file string) error {
	const width, height = vg.Length(640), vg.Length(380)
	p := plot.New()
	p.Title.Text = "time of each rival, as a multiple of guard's"
	p.Title.TextStyle.Font = sans(13)
	p.Title.Padding = vg.Points(8)
	p.X.Scale, p.X.Min, p.X.Max = plot.LogScale{}, 0.1, 110
	p.X.Tick.Marker = ticks(0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
	p.Y.Min, p.Y.Max = 0.4, float64(len(charted))+0.6
	p.X.Tick.Label.Font, p.Y.Tick.Label.Font = sans(10), sans(11)
	p.Y.Tick.Width, p.Y.Width = 0, 0
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = gridColor, gridColor
	p.Add(grid)

	line, err := plotter.NewLine(plotter.XYs{{X: 1, Y: p.Y.Min}, {X: 1, Y: p.Y.Max}})
	if err != nil {
		return err
	}
	line.LineStyle = draw.LineStyle{Color: guardColor, Width: vg.Points(2)}
	p.Add(line)

	var dots plotter.XYs
	var rows plot.ConstantTicks
	nearest := plotter.XYLabels{}
	for n, c := range charted {
		y := float64(len(charted) - n)
		rows = append(rows, plot.Tick{Value: y, Label: c.label})
		name, least := "", math.Inf(1)
		for _, r := range ratios(jobs, c.job) {
			dots = append(dots, plotter.XY{X: min(max(r.ratio, p.X.Min), p.X.Max), Y: y})
			if r.ratio < least {
				name, least = r.contender, r.ratio
			}
		}
		if name != "" {
			nearest.XYs = append(nearest.XYs, plotter.XY{X: min(max(least, p.X.Min), p.X.Max), Y: y})
			nearest.Labels = append(nearest.Labels, name)
		}
	}
	p.Y.Tick.Marker = rows
	if len(dots) > 0 {
		points, err := plotter.NewScatter(dots)
		if err != nil {
			return err
		}
		points.GlyphStyle = draw.GlyphStyle{Color: rivalColor, Radius: vg.Points(3), Shape: draw.CircleGlyph{}}
		labels, err := plotter.NewLabels(nearest)
		if err != nil {
			return err
		}
		for i := range labels.TextStyle {
			labels.TextStyle[i] = text.Style{Color: rivalColor, Font: sans(8), XAlign: draw.XCenter, YAlign: draw.YBottom, Handler: plot.DefaultTextHandler}
		}
		labels.Offset = vg.Point{Y: vg.Points(5)}
		p.Add(points, labels)
	}

	canvas := vgsvg.New(width, height)
	page := draw.New(canvas)
	page.SetColor(color.White)
	page.Fill(page.Path())
	p.Draw(draw.Crop(page, vg.Points(8), -vg.Points(12), vg.Points(6), -vg.Points(4)))
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	// The font that it was laid out with is not on every machine.
	family := regexp.MustCompile(`font-family:[^;"]*`)
	return os.WriteFile(file, family.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans,Arimo,Helvetica,Arial,sans-serif")), 0o644)
}

// A ratio is that of a rival.
type ratio struct {
	contender string
	ratio     float64
}

func ratios(jobs []*job, name string) (all []ratio) {
	n := slices.IndexFunc(jobs, func(j *job) bool { return j.name == name })
	if n < 0 {
		return nil
	}
	for _, s := range jobs[n].rivals() {
		own := jobs[n].own(s.contender)
		if own == nil || strings.HasSuffix(s.contender, "-timeout") {
			continue
		}
		all = append(all, ratio{s.contender, compare(own.values["ns/op"], s.values["ns/op"]).ratio})
	}
	return all
}

func sans(size float64) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(size)}
}

func ticks(at ...float64) plot.ConstantTicks {
	var all plot.ConstantTicks
	for _, v := range at {
		all = append(all, plot.Tick{Value: v, Label: fmt.Sprintf("%g", v)})
	}
	return all
}
