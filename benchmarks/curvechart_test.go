package benchmarks_test

import (
	"fmt"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A look is how the curve of a contender is drawn.
type look struct {
	contender string
	color     color.RGBA
	shape     draw.GlyphDrawer
}

// drawn are the contenders whose curves are drawn, in the order of the legend.
var drawn = []look{
	{"guard", guardColor, draw.CircleGlyph{}},
	{"by-hand", exactColor, draw.SquareGlyph{}},
	{"gobreaker", color.RGBA{0x00, 0x9e, 0x73, 0xff}, draw.TriangleGlyph{}},
	{"x-time-rate", exactColor, draw.RingGlyph{}},
	{"go-limiter", wrongColor, draw.PlusGlyph{}},
	{"throttled", color.RGBA{0xcc, 0x79, 0xa7, 0xff}, draw.CrossGlyph{}},
	{"tollbooth", color.RGBA{0xe6, 0x9f, 0x00, 0xff}, draw.PyramidGlyph{}},
	{"httprate", color.RGBA{0x6b, 0x6b, 0x6b, 0xff}, draw.BoxGlyph{}},
}

// drawCurves draws the curves side by side, and under them who is who.
func drawCurves(r report, file string) error {
	const panel, height, foot = vg.Length(214), vg.Length(240), vg.Length(26)
	width := panel * vg.Length(len(curved))
	page, canvas := newPage(width, height)
	seen := map[string]bool{}
	for n, c := range curved {
		jobs, many := r.curve(c.before, c.after, c.many)
		p := plot.New()
		p.Title.Text = c.title
		p.Title.TextStyle.Font, p.Title.Padding = sans(9), vg.Points(6)
		p.X.Tick.Label.Font, p.Y.Tick.Label.Font = sans(8), sans(8)
		if n == 0 {
			p.Y.Label.Text, p.Y.Label.TextStyle.Font = "ns", sans(9)
		}
		p.X.Label.Text, p.X.Label.TextStyle.Font = c.of, sans(9)
		p.X.Scale, p.X.Min, p.X.Max = plot.LogScale{}, 0.7, float64(c.many[len(c.many)-1])*1.4
		p.Y.Scale, p.Y.Min, p.Y.Max = plot.LogScale{}, 30, 3000
		grid := plotter.NewGrid()
		grid.Horizontal.Color, grid.Vertical.Color = gridColor, gridColor
		p.Add(grid)
		for i, look := range slices.Backward(drawn) { // guard is drawn last, over the others
			var points plotter.XYs
			for k, j := range jobs {
				if s := j.side(look.contender); s != nil {
					ns := summary(s.values["ns/op"]).Center
					p.Y.Min, p.Y.Max = min(p.Y.Min, ns/1.3), max(p.Y.Max, ns*1.3)
					points = append(points, plotter.XY{X: float64(many[k]), Y: ns})
				}
			}
			if len(points) == 0 {
				continue
			}
			seen[look.contender] = true
			line, dots, err := plotter.NewLinePoints(points)
			if err != nil {
				return err
			}
			line.LineStyle = draw.LineStyle{Color: look.color, Width: vg.Points(1.2)}
			if i == 0 {
				line.Width = vg.Points(2.2)
			}
			dots.GlyphStyle = draw.GlyphStyle{Color: look.color, Radius: vg.Points(2.6), Shape: look.shape}
			p.Add(line, dots)
		}
		p.X.Tick.Marker = powers(p.X.Min, p.X.Max)
		p.Y.Tick.Marker = ticks(p.Y.Min, p.Y.Max, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
		left := panel * vg.Length(n)
		p.Draw(draw.Crop(page, left+vg.Points(6), left+panel-width-vg.Points(6), foot, -vg.Points(6)))
	}
	x, y := vg.Points(20), foot/2
	for _, l := range drawn {
		if !seen[l.contender] {
			continue
		}
		page.StrokeLine2(draw.LineStyle{Color: l.color, Width: vg.Points(1.2)}, x, y, x+vg.Points(16), y)
		page.DrawGlyph(draw.GlyphStyle{Color: l.color, Radius: vg.Points(2.6), Shape: l.shape}, vg.Point{X: x + vg.Points(8), Y: y})
		style := text.Style{Color: guardColor, Font: sans(9), XAlign: draw.XLeft, YAlign: draw.YCenter, Handler: plot.DefaultTextHandler}
		page.FillText(style, vg.Point{X: x + vg.Points(20), Y: y}, l.contender)
		x += style.Width(l.contender) + vg.Points(34)
	}
	return saveSVG(canvas, file)
}

// powers are those of ten from least to most, by the prefixes of the SI.
func powers(least, most float64) plot.ConstantTicks {
	var all plot.ConstantTicks
	for v := 1.0; v <= most; v *= 10 {
		name := fmt.Sprintf("%g", v)
		switch {
		case v >= 1e6:
			name = fmt.Sprintf("%gM", v/1e6)
		case v >= 1e3:
			name = fmt.Sprintf("%gk", v/1e3)
		}
		if v >= least {
			all = append(all, plot.Tick{Value: v, Label: name})
		}
	}
	return all
}
