package benchmarks_test

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
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
	{"Keyed/1000000/parallel", "one client of a million"},
	{"Breaker/closed/serial", "call, breaker closed"},
	{"Breaker/open/serial", "call, breaker open"},
	{"Client/closed/serial", "HTTP call, breaker closed"},
	{"Handler/admit/serial", "middleware, admitted"},
	{"Handler/refuse/serial", "middleware, refused"},
	{"Bound/admit/serial", "middleware, in-flight bound"},
	{"Request/one-call/serial", "limit and one call"},
	{"Request/whole/serial", "limits for all and for each, one call"},
}

// The colours are of the palette of Okabe and Ito, which the colour-blind can tell
// apart; the shapes are for everybody else.
var (
	guardColor = color.RGBA{0x00, 0x00, 0x00, 0xff}
	exactColor = color.RGBA{0x00, 0x72, 0xb2, 0xff}
	wrongColor = color.RGBA{0xd5, 0x5e, 0x00, 0xff}
	gridColor  = color.Gray{0xdc}
)

// drawSpeed draws what the rivals need as multiples of what guard needs, a row for
// each job.
func drawSpeed(r report, file string) error {
	const width, height = vg.Length(640), vg.Length(520)
	p := plot.New()
	p.Title.Text = "Time of each rival, as a multiple of guard's: right of the line, guard is faster"
	p.Title.TextStyle.Font = sans(12)
	p.Title.Padding = vg.Points(22)
	p.Y.Min, p.Y.Max = 0.4, float64(len(charted))+0.6
	p.X.Tick.Label.Font, p.Y.Tick.Label.Font = sans(10), sans(10)
	p.Y.Tick.Width, p.Y.Width = 0, 0

	var shown field
	var rows plot.ConstantTicks
	least, most := 0.5, 2.0
	for n, c := range charted {
		rows = append(rows, plot.Tick{Value: float64(len(charted) - n), Label: c.label})
		j := r.job(c.job)
		if j == nil {
			continue
		}
		var row []rivalry
		for _, v := range r.rivalries(j, metricsOf(j)[0]) {
			v.ratio = min(max(v.ratio, 0.01), 1000)
			least, most = min(least, v.ratio), max(most, v.ratio)
			row = append(row, v)
		}
		slices.SortStableFunc(row, func(a, b rivalry) int { // names first of those that count
			switch {
			case a.overAdmits == b.overAdmits:
				return 0
			case b.overAdmits:
				return -1
			}
			return 1
		})
		shown = append(shown, spot{rows[n].Value, row})
	}
	p.Y.Tick.Marker = rows
	p.X.Scale, p.X.Min, p.X.Max = plot.LogScale{}, least/1.6, most*1.6
	p.X.Tick.Marker = ticks(p.X.Min, p.X.Max, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = gridColor, gridColor
	line, err := plotter.NewLine(plotter.XYs{{X: 1, Y: p.Y.Min}, {X: 1, Y: p.Y.Max}})
	if err != nil {
		return err
	}
	line.LineStyle = draw.LineStyle{Color: guardColor, Width: vg.Points(1.2)}
	p.Add(grid, line, shown)

	page, canvas := newPage(width, height)
	p.Draw(draw.Crop(page, vg.Points(8), -vg.Points(12), vg.Points(6), -vg.Points(6)))
	legend(page, width/2-vg.Points(80), height-vg.Points(34))
	return saveSVG(canvas, file)
}

// legend says what the shapes are.
func legend(page draw.Canvas, x, y vg.Length) {
	for _, s := range []struct {
		overAdmits bool
		text       string
	}{{false, "rival"}, {true, "admits more than it may (see Exact)"}} {
		page.DrawGlyph(glyph(s.overAdmits), vg.Point{X: x, Y: y})
		style := label(s.overAdmits, 9)
		style.XAlign, style.YAlign = draw.XLeft, draw.YCenter
		page.FillText(style, vg.Point{X: x + vg.Points(6), Y: y}, s.text)
		x += style.Width(s.text) + vg.Points(24)
	}
}

// A field draws rows of spots, with as many names as find room.
type field []spot

type spot struct {
	y   float64
	row []rivalry // in the order in which they may take room
}

// Plot implements plot.Plotter.
func (f field) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, s := range f {
		var taken []span
		for _, v := range s.row {
			at := vg.Point{X: x(v.ratio), Y: y(s.y)}
			c.DrawGlyph(glyph(v.overAdmits), at)
			style := label(v.overAdmits, 8)
			left := besides(at.X, style.Width(v.rival.contender), x(1), c.Min.X, c.Max.X)
			for _, below := range []bool{false, true} {
				place := span{left, left + style.Width(v.rival.contender), below}
				if slices.ContainsFunc(taken, place.meets) {
					continue
				}
				taken = append(taken, place)
				offset := vg.Points(5)
				if style.YAlign = draw.YBottom; below {
					style.YAlign, offset = draw.YTop, -offset
				}
				c.FillText(style, vg.Point{X: left, Y: at.Y + offset}, v.rival.contender)
				break
			}
		}
	}
}

// besides is where a name begins that stands at x, on that side of the line on which
// x is, and within the page.
func besides(x, width, line, least, most vg.Length) vg.Length {
	const gap = vg.Length(3)
	left := x - width/2
	if x >= line {
		left = max(left, line+gap)
	} else {
		left = min(left, line-gap-width)
	}
	return min(max(left, least), most-width)
}

// A span is a part of a line of text, above or below a row.
type span struct {
	from, to vg.Length
	below    bool
}

func (s span) meets(o span) bool {
	const gap = vg.Length(4)
	return s.below == o.below && s.from < o.to+gap && o.from < s.to+gap
}

func glyph(overAdmits bool) draw.GlyphStyle {
	if overAdmits {
		return draw.GlyphStyle{Color: wrongColor, Radius: vg.Points(3), Shape: draw.RingGlyph{}}
	}
	return draw.GlyphStyle{Color: exactColor, Radius: vg.Points(3), Shape: draw.CircleGlyph{}}
}

func label(overAdmits bool, size float64) text.Style {
	return text.Style{Color: glyph(overAdmits).Color, Font: sans(size), XAlign: draw.XLeft, Handler: plot.DefaultTextHandler}
}

// newPage is white, so that it can be read on a dark one.
func newPage(width, height vg.Length) (draw.Canvas, *vgsvg.Canvas) {
	canvas := vgsvg.New(width, height)
	page := draw.New(canvas)
	page.SetColor(color.White)
	page.Fill(page.Path())
	return page, canvas
}

// saveSVG asks for the like of the font that it was laid out with, which is not on
// every machine.
func saveSVG(canvas *vgsvg.Canvas, file string) error {
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	family := regexp.MustCompile(`font-family:[^;"]*`)
	return os.WriteFile(file, family.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans,Arimo,Helvetica,Arial,sans-serif")), 0o644)
}

func sans(size float64) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(size)}
}

// ticks are those from least to most.
func ticks(least, most float64, at ...float64) plot.ConstantTicks {
	var all plot.ConstantTicks
	for _, v := range at {
		if least <= v && v <= most {
			all = append(all, plot.Tick{Value: v, Label: fmt.Sprintf("%g", v)})
		}
	}
	return all
}

func TestBesides(t *testing.T) {
	for _, test := range []struct {
		name    string
		x, want vg.Length
	}{
		{"free", 300, 280},
		{"right of the line", 101, 103},
		{"on the line", 100, 103},
		{"left of the line", 99, 57},
		{"at the left end", 1, 0},
		{"at the right end", 399, 360},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.InDelta(t, float64(test.want), float64(besides(test.x, 40, 100, 0, 400)), 1e-9)
		})
	}
	require.True(t, span{0, 10, false}.meets(span{12, 20, false}))
	require.False(t, span{0, 10, false}.meets(span{12, 20, true}))
	require.False(t, span{0, 10, false}.meets(span{15, 20, false}))
}
