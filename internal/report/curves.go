package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/loratool/loratool/internal/text"
)

// A Series is one curve. Curves of one group have one colour and one entry in
// the legend.
type Series struct {
	Name, Group string
	X, Y        []float64
}

// Axes say how curves are drawn.
type Axes struct {
	X, Y       string // names
	LogX, LogY bool
	FromZero   bool    // the Y axis starts at 0
	Top        float64 // of the Y axis; 0 means the largest value
}

// Sizes of a chart in pixels.
const (
	chartWidth, chartHeight = 860, 340
	chartLeft, chartBottom  = 64, 44
	chartTop, legendWidth   = 12, 190
)

// groupColors tell groups apart in the light and in the dark (Okabe and Ito
// 2008, without black and yellow, and five more).
var groupColors = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#a6761d", "#7f7f7f", "#1b9e77", "#e7298a"}

// Curves draws series in one chart. Points that are not finite are left out.
func (p *Page) Curves(axes Axes, series []Series) {
	x, y, ok := ranges(axes, series)
	if !ok {
		return
	}
	b := &p.body
	fmt.Fprintf(b, "<div class=\"wide\"><svg viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\">\n", chartWidth, chartHeight, chartWidth)
	p.axes(axes, x, y)
	groups := map[string]int{}
	var order []string
	for _, s := range series {
		if _, ok := groups[s.Group]; !ok {
			groups[s.Group] = len(groups)
			order = append(order, s.Group)
		}
		c := groupColors[groups[s.Group]%len(groupColors)]
		fmt.Fprintf(b, "<polyline class=\"curve\" stroke=\"%s\" points=\"%s\"><title>%s</title></polyline>\n", c, points(s, x, y), escape(s.Name))
	}
	const most = 18 // entries that the legend has room for
	for i, g := range order {
		if i == most {
			fmt.Fprintf(b, "<text class=\"soft\" x=\"%d\" y=\"%d\">and %d more</text>\n", chartWidth-legendWidth+28, chartTop+10+17*i, len(order)-i)
			break
		}
		at := chartTop + 6 + 17*i
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"14\" height=\"3\" fill=\"%s\"/><text x=\"%d\" y=\"%d\">%s</text>\n",
			chartWidth-legendWidth+8, at, groupColors[i%len(groupColors)], chartWidth-legendWidth+28, at+5, escape(g))
	}
	b.WriteString("</svg></div>\n")
}

// An axis maps values to pixels.
type axis struct {
	low, high float64
	from, to  float64 // pixels
	log       bool
}

func (a axis) at(v float64) float64 {
	return a.from + float64(share(v, a.low, a.high, a.log)*(a.to-a.from))
}

func ranges(axes Axes, series []Series) (x, y axis, ok bool) {
	var xs, ys [][]float64
	for _, s := range series {
		xs, ys = append(xs, s.X), append(ys, s.Y)
	}
	x = axis{from: chartLeft, to: chartWidth - legendWidth, log: axes.LogX}
	y = axis{from: chartHeight - chartBottom, to: chartTop, log: axes.LogY}
	var okX, okY bool
	x.low, x.high, okX = span(xs)
	y.low, y.high, okY = span(ys)
	if axes.FromZero {
		y.low = 0
	}
	if axes.Top > 0 {
		y.high = axes.Top
	}
	x.log, y.log = x.log && x.low > 0, y.log && y.low > 0
	return x, y, okX && okY
}

func points(s Series, x, y axis) string {
	var b strings.Builder
	for i, v := range s.Y {
		if math.IsNaN(v) || math.IsInf(v, 0) || y.log && v <= 0 || x.log && s.X[i] <= 0 {
			continue
		}
		fmt.Fprintf(&b, "%.1f,%.1f ", x.at(s.X[i]), y.at(v))
	}
	return strings.TrimSpace(b.String())
}

// axes draws the frame with ticks.
func (p *Page) axes(axes Axes, x, y axis) {
	b := &p.body
	for _, v := range ticks(y) {
		at := y.at(v)
		fmt.Fprintf(b, "<path class=\"axis\" d=\"M%d %.1fH%.0f\"/><text class=\"soft\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", chartLeft, at, x.to, chartLeft-6, at+4, number(v))
	}
	for _, v := range ticks(x) {
		at := x.at(v)
		fmt.Fprintf(b, "<path class=\"axis\" d=\"M%.1f %dV%d\"/><text class=\"soft\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", at, chartTop, chartHeight-chartBottom, at, chartHeight-chartBottom+16, number(v))
	}
	fmt.Fprintf(b, "<text class=\"soft\" x=\"%.0f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", (x.from+x.to)/2, chartHeight-8, escape(axes.X))
	fmt.Fprintf(b, "<text class=\"soft\" transform=\"translate(14 %d) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", (chartHeight-chartBottom+chartTop)/2, escape(axes.Y))
}

// ticks returns round values on an axis: powers of ten and their 2 and 5 for a
// logarithmic one, else four to eight multiples of 1, 2 or 5.
func ticks(a axis) (values []float64) {
	if a.log {
		for e := math.Floor(math.Log10(a.low)); e <= math.Log10(a.high); e++ {
			for _, m := range []float64{1, 2, 5} {
				if v := m * math.Pow(10, e); v >= a.low*0.999 && v <= a.high*1.001 && (m == 1 || a.high/a.low < 1000) {
					values = append(values, v)
				}
			}
		}
		return values
	}
	if a.high <= a.low {
		return []float64{a.low}
	}
	step := math.Pow(10, math.Floor(math.Log10((a.high-a.low)/4)))
	for _, m := range []float64{5, 2} {
		if (a.high-a.low)/(step*m) >= 4 {
			step *= m
			break
		}
	}
	for i := math.Ceil(a.low/step - 1e-9); float64(i*step) <= a.high+float64(step*1e-9); i++ {
		values = append(values, float64(i*step)+0) // + 0: no tick is −0
	}
	return values
}

// number shows a tick.
func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e6 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	if a := math.Abs(v); a >= 1e-3 && a < 1e6 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	return text.Ratio(v)
}
