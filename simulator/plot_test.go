package simulator_test

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"regexp"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A style is how the line of a contender looks: a colour of the palette of Okabe
// and Ito, which the colour-blind can tell apart, and a shape for everybody else.
type style struct {
	contender string
	color     color.RGBA
	shape     draw.GlyphDrawer
	dashes    []vg.Length
	width     vg.Length
}

// plotted are those in the plot, from the top of the legend to its bottom. Whoever
// looks like another one is left out.
var plotted = []style{
	{"self-tuned bound", rgb(0x00, 0x00, 0x00), draw.CircleGlyph{}, nil, 2.2},
	{"static bound, right", rgb(0x00, 0x72, 0xb2), draw.SquareGlyph{}, nil, 1.4},
	{"static bound, 4x low", rgb(0x56, 0xb4, 0xe9), draw.SquareGlyph{}, dashed, 1.4},
	{"token bucket, right", rgb(0x00, 0x9e, 0x73), draw.TriangleGlyph{}, nil, 1.4},
	{"token bucket, 20 % high", rgb(0xe6, 0x9f, 0x00), draw.TriangleGlyph{}, dashed, 1.4},
	{"failsafe-go, adaptive", rgb(0xcc, 0x79, 0xa7), draw.RingGlyph{}, nil, 1.4},
	{"nothing", rgb(0x6b, 0x6b, 0x6b), draw.PlusGlyph{}, dotted, 1.8},
	{"go-zero, CPU-bound", rgb(0xd5, 0x5e, 0x00), draw.CrossGlyph{}, nil, 1.4},
}

var (
	dashed = []vg.Length{vg.Points(6), vg.Points(3)}
	dotted = []vg.Length{vg.Points(1.5), vg.Points(2.5)}
)

func rgb(r, g, b uint8) color.RGBA { return color.RGBA{r, g, b, 0xff} }

const (
	panelWidth  = 300
	panelHeight = 300
	legendWidth = 190
)

// drawGoodput draws the curves of each shape of curveShapes side by side, and the
// legend at the right of them.
func drawGoodput(curves map[string][]curve, file string) error {
	width := vg.Points(float64(panelWidth*len(curveShapes) + legendWidth))
	canvas := vgsvg.New(width, vg.Points(panelHeight))
	page := draw.New(canvas)
	page.SetColor(color.White)
	page.Fill(page.Path())

	var legend plot.Legend
	for n, shape := range curveShapes {
		p := panel(shape, n == 0)
		shown := plot.NewLegend()
		if err := p.lines(curves[shape.Name], &shown); err != nil {
			return err
		}
		left := vg.Points(float64(n * panelWidth))
		p.Draw(draw.Crop(page, left, left+vg.Points(panelWidth)-width, 0, 0))
		legend = shown
	}
	legend.TextStyle.Font = text(11)
	legend.Top, legend.Left, legend.ThumbnailWidth, legend.Padding = true, true, vg.Points(28), vg.Points(4)
	legend.YPosition = draw.PosCenter
	legend.Draw(draw.Crop(page, width-vg.Points(legendWidth-8), 0, 0, -vg.Points(34)))

	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	// The font that it was laid out with is not on every machine.
	family := regexp.MustCompile(`font-family:[^;"]*`)
	return os.WriteFile(file, family.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans,Arimo,Helvetica,Arial,sans-serif")), 0o644)
}

// panelPlot is the plot for one server.
type panelPlot struct{ *plot.Plot }

func text(size float64) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(size)}
}

func panel(shape Shape, leftmost bool) panelPlot {
	p := plot.New()
	p.Title.Text = shape.size()
	p.Title.TextStyle.Font = text(13)
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text = "load, as a multiple of the capacity"
	if leftmost {
		p.Y.Label.Text = "goodput, % of the capacity"
	}
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font = text(11)
		axis.Label.Padding = vg.Points(5)
		axis.Tick.Label.Font = text(10)
		axis.Padding = 0
	}
	p.X.Scale = plot.LogScale{}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0.47, 10.6, -2, 106
	p.X.Tick.Marker = ticks(0.5, 1, 2, 5, 10)
	p.Y.Tick.Marker = ticks(0, 20, 40, 60, 80, 100)
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{0xe4}, color.Gray{0xe4}
	p.Add(grid)
	return panelPlot{p}
}

func ticks(at ...float64) plot.ConstantTicks {
	var all plot.ConstantTicks
	for _, v := range at {
		all = append(all, plot.Tick{Value: v, Label: fmt.Sprintf("%g", v)})
	}
	return all
}

// lines adds what the contenders did, and what could be done.
func (p panelPlot) lines(curves []curve, legend *plot.Legend) error {
	ideal := plotter.NewFunction(func(load float64) float64 { return 100 * math.Min(load, 1) })
	ideal.Samples = 500
	ideal.LineStyle = draw.LineStyle{Color: color.Gray{0xd0}, Width: vg.Points(6)}
	p.Add(ideal)
	legend.Add("all that can be done", ideal)
	// What the legend names first is drawn last, on top.
	for _, s := range slices.Backward(plotted) {
		if line, points := s.plotters(curves); line != nil {
			p.Add(line, points)
		}
	}
	for _, s := range plotted {
		if line, points := s.plotters(curves); line != nil {
			legend.Add(s.contender, line, points)
		}
	}
	return nil
}

// plotters returns the line of a contender and the points on it, or nil if it has
// not taken part.
func (s style) plotters(curves []curve) (*plotter.Line, *plotter.Scatter) {
	n := slices.IndexFunc(curves, func(c curve) bool { return c.contender == s.contender })
	if n < 0 {
		return nil, nil
	}
	var xys plotter.XYs
	for i, load := range curves[n].loads {
		xys = append(xys, plotter.XY{X: load, Y: curves[n].goodput[i]})
	}
	line, points, err := plotter.NewLinePoints(xys)
	if err != nil {
		return nil, nil
	}
	line.LineStyle = draw.LineStyle{Color: s.color, Width: vg.Points(float64(s.width)), Dashes: s.dashes}
	points.GlyphStyle = draw.GlyphStyle{Color: s.color, Radius: vg.Points(3), Shape: s.shape}
	return line, points
}
