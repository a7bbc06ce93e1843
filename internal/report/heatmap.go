package report

import (
	"fmt"
	"math"

	"github.com/loratool/loratool/internal/text"
)

// Sizes of a heat map in pixels.
const (
	cellHeight = 18
	cellMost   = 26 // widest cell
	mapWidth   = 860
	charWidth  = 6.2 // of the labels' font, nearly
	headHeight = 20
	legendRoom = 46
	legendSize = 220
)

// leastSpread is how far the ends of the scale are from its middle at least,
// by the middle.
const leastSpread = 0.05

// HeatMap draws values[row][column] as coloured cells with a legend; each cell
// tells its value when it is pointed at. NaN is a missing value.
func (p *Page) HeatMap(rows, cols []string, values [][]float64) {
	low, high, found := span(values)
	if !found {
		return
	}
	log := low > 0 && high/low >= 100
	if low > 0 && high/low < 1+2*leastSpread { // values that are nearly equal look so
		middle := (low + high) / 2
		low, high = middle*(1-leastSpread), middle*(1+leastSpread)
	}
	left := 10.0
	for _, r := range rows {
		left = max(left, float64(charWidth*float64(len([]rune(text.Quote(r)))))+10)
	}
	cell := min(cellMost, max(4, (mapWidth-left)/float64(max(1, len(cols)))))
	width := max(left+float64(cell*float64(len(cols))), left+legendSize) + 10
	height := headHeight + cellHeight*len(rows) + legendRoom
	b := &p.body
	fmt.Fprintf(b, "<div class=\"wide\"><svg viewBox=\"0 0 %.0f %d\" width=\"%.0f\" role=\"img\">\n", width, height, width)
	every := int(math.Ceil(charWidth * 3 / cell))
	for j, c := range cols {
		if j%every == 0 {
			fmt.Fprintf(b, "<text class=\"soft\" x=\"%.1f\" y=\"13\" text-anchor=\"middle\">%s</text>\n", left+float64(cell*(float64(j)+.5)), escape(c))
		}
	}
	for i, row := range values {
		y := headHeight + cellHeight*i
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"end\">%s</text>\n", left-6, y+13, escape(rows[i]))
		for j, v := range row {
			fill, shown := "class=\"none\"", "none"
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				fill, shown = fmt.Sprintf("fill=\"%s\"", color(share(v, low, high, log))), text.Ratio(v)
			}
			fmt.Fprintf(b, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" %s><title>%s, %s: %s</title></rect>\n",
				left+float64(cell*float64(j)), y, cell-1, cellHeight-1, fill, escape(rows[i]), escape(cols[j]), shown)
		}
	}
	p.legend(left, headHeight+cellHeight*len(rows)+12, low, high, log)
	b.WriteString("</svg></div>\n")
}

// legend draws the scale of colours.
func (p *Page) legend(x float64, y int, low, high float64, log bool) {
	const steps = 44
	for i := range steps {
		fmt.Fprintf(&p.body, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"10\" fill=\"%s\"/>\n", x+float64(i)*legendSize/steps, y, float64(legendSize)/steps+.3, color((float64(i)+.5)/steps))
	}
	scale := ""
	if log {
		scale = " (logarithmic)"
	}
	fmt.Fprintf(&p.body, "<text class=\"soft\" x=\"%.1f\" y=\"%d\">%s</text>\n", x, y+24, number(low))
	fmt.Fprintf(&p.body, "<text class=\"soft\" x=\"%.1f\" y=\"%d\" text-anchor=\"end\">%s%s</text>\n", x+legendSize, y+24, number(high), scale)
}

// span returns the smallest and largest finite value.
func span(values [][]float64) (low, high float64, found bool) {
	for _, row := range values {
		for _, v := range row {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				continue
			}
			if !found {
				low, high, found = v, v, true
			}
			low, high = min(low, v), max(high, v)
		}
	}
	return low, high, found
}

// share places a value between low and high.
func share(v, low, high float64, log bool) float64 {
	if high == low {
		return 0.5
	}
	if log {
		return math.Log(v/low) / math.Log(high/low)
	}
	return (v - low) / (high - low)
}

// ramp is viridis (van der Walt and Smith 2015) at nine places, which is read
// the same by people who see fewer colours.
var ramp = [9][3]float64{
	{68, 1, 84}, {71, 44, 122}, {59, 81, 139}, {44, 113, 142}, {33, 144, 141}, {39, 173, 129}, {92, 200, 99}, {170, 220, 50}, {253, 231, 37},
}

// color returns the colour of a place in [0, 1].
func color(at float64) string {
	x := float64(min(max(at, 0), 1) * float64(len(ramp)-1))
	i := min(int(x), len(ramp)-2)
	var c [3]int
	for k := range c {
		c[k] = int(math.Round(ramp[i][k] + float64((x-float64(i))*(ramp[i+1][k]-ramp[i][k]))))
	}
	return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2])
}
