package text

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// HeatMapOptions says what the terminal can show. The zero value draws digits
// in 80 columns.
type HeatMapOptions struct {
	Color   bool // 256 colours by escape sequences
	Unicode bool // block characters
	Width   int  // columns of the terminal; 0 means 80
}

const (
	defaultWidth = 80
	minCells     = 8 // columns left for cells, however long the labels are
	// logRange is the ratio of the largest to the smallest value from which a
	// picture is drawn on a logarithmic scale; below it a linear one shows more.
	logRange = 100
)

// blocks are the levels of a cell as bars of growing height.
var blocks = []string{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"}

// digits are the levels of a cell in plain text.
var digits = []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}

// colors are the levels of a cell as background colours of the 256-colour
// palette, dark blue over green to yellow, near the viridis ramp.
var colors = []int{17, 18, 24, 30, 36, 42, 77, 113, 149, 185, 220, 226}

// HeatMap draws values[row][column] as a table of cells, one line for each
// row, with a legend. NaN is a missing value, an infinity is shown as "!".
// Columns that do not fit are averaged in groups, which the legend says. The
// result ends in a newline; labels are shown by Quote.
func HeatMap(title string, rowLabels, colLabels []string, values [][]float64, opts HeatMapOptions) string {
	m := newHeatMap(rowLabels, colLabels, values, opts)
	var b strings.Builder
	if title != "" {
		b.WriteString(Quote(title) + "\n")
	}
	m.writeHeader(&b)
	for i, row := range m.values {
		var line strings.Builder
		line.WriteString(m.labels[i] + " ")
		for _, v := range row {
			line.WriteString(m.cell(v))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	m.writeLegend(&b)
	return b.String()
}

// A heatMap is a table that fits the terminal.
type heatMap struct {
	opts   HeatMapOptions
	labels []string // all of one width
	cols   []string // one for each column that is drawn
	values [][]float64
	group  int // columns of the input in each one that is drawn
	width  int // characters of a cell
	scale  scale
}

func newHeatMap(rowLabels, colLabels []string, values [][]float64, opts HeatMapOptions) *heatMap {
	if opts.Width <= 0 {
		opts.Width = defaultWidth
	}
	m := &heatMap{opts: opts, group: 1, width: 2}
	columns := len(colLabels)
	for _, row := range values {
		columns = max(columns, len(row))
	}
	m.labels = padLabels(rowLabels, len(values), max(minCells, opts.Width-1-max(minCells, columns)))
	room := opts.Width - 1
	if len(m.labels) > 0 {
		room -= utf8.RuneCountInString(m.labels[0])
	}
	room = max(room, minCells)
	if columns*m.width > room {
		m.width = 1
	}
	if columns > room {
		m.group = (columns + room - 1) / room
	}
	for start := 0; start < columns; start += m.group {
		label := ""
		if start < len(colLabels) {
			label = Quote(colLabels[start])
		}
		m.cols = append(m.cols, label)
	}
	for _, row := range values {
		m.values = append(m.values, averageGroups(row, columns, m.group))
	}
	m.scale = newScale(m.values)
	return m
}

// padLabels quotes n labels, keeps the end of those longer than limit, and
// fills all to one width.
func padLabels(labels []string, n, limit int) []string {
	padded := make([]string, n)
	width := 0
	for i := range padded {
		if i < len(labels) {
			padded[i] = Quote(labels[i])
		}
		if runes := []rune(padded[i]); len(runes) > limit {
			padded[i] = ".." + string(runes[len(runes)-limit+2:])
		}
		width = max(width, utf8.RuneCountInString(padded[i]))
	}
	for i, label := range padded {
		padded[i] = label + strings.Repeat(" ", width-utf8.RuneCountInString(label))
	}
	return padded
}

// averageGroups returns the mean of each group of columns, leaving out missing
// values.
func averageGroups(row []float64, columns, group int) []float64 {
	var means []float64
	for start := 0; start < columns; start += group {
		sum, n := 0.0, 0
		for j := start; j < min(start+group, len(row)); j++ {
			if !math.IsNaN(row[j]) {
				sum += row[j]
				n++
			}
		}
		means = append(means, sum/float64(n)) // 0/0 is NaN: missing
	}
	return means
}

// writeHeader writes the column labels that fit without touching each other.
func (m *heatMap) writeHeader(b *strings.Builder) {
	if len(m.labels) == 0 {
		return
	}
	line := strings.Repeat(" ", utf8.RuneCountInString(m.labels[0])+1)
	at := utf8.RuneCountInString(line)
	free := at
	wrote := false
	for i, label := range m.cols {
		pos, size := at+i*m.width, utf8.RuneCountInString(label)
		if label == "" || pos < free || pos+size > m.opts.Width {
			continue
		}
		line += strings.Repeat(" ", pos-utf8.RuneCountInString(line)) + label
		free = pos + size + 1
		wrote = true
	}
	if wrote {
		b.WriteString(line + "\n")
	}
}

// cell draws one value.
func (m *heatMap) cell(v float64) string {
	mark := ""
	switch {
	case math.IsNaN(v) && m.opts.Unicode:
		mark = "·"
	case math.IsNaN(v):
		mark = "."
	case math.IsInf(v, 0):
		mark = "!"
	case m.opts.Color:
		level := m.scale.level(v, len(colors))
		return fmt.Sprintf("\x1b[48;5;%dm%*s\x1b[0m", colors[level], m.width, "")
	case m.opts.Unicode:
		return strings.Repeat(blocks[m.scale.level(v, len(blocks))], m.width)
	default:
		mark = digits[m.scale.level(v, len(digits))]
	}
	return mark + strings.Repeat(" ", m.width-1)
}

// writeLegend says what the lowest and the highest level mean.
func (m *heatMap) writeLegend(b *strings.Builder) {
	if m.scale.empty() {
		b.WriteString("no values\n")
		return
	}
	to := " .. "
	missing := "."
	if m.opts.Unicode {
		to, missing = " … ", "·"
	}
	fmt.Fprintf(b, "%s %s%s%s %s", m.cell(m.scale.low), Ratio(m.scale.low), to, m.cell(m.scale.high), Ratio(m.scale.high))
	if m.scale.log {
		b.WriteString(", logarithmic")
	}
	if m.missing() {
		b.WriteString(", " + missing + " none")
	}
	if m.group > 1 {
		fmt.Fprintf(b, ", each column the mean of %d", m.group)
	}
	b.WriteString("\n")
}

// missing reports whether a value is missing.
func (m *heatMap) missing() bool {
	for _, row := range m.values {
		if slices.ContainsFunc(row, math.IsNaN) {
			return true
		}
	}
	return false
}
