package merge

import (
	"bytes"
	"math"

	"github.com/loratool/loratool/format/dtype"
)

// A comparison says how elements differ from the correctly rounded sums.
type comparison struct {
	runs        int // how many runs of elements were compared
	unequalRuns int // how many of them differ
	differing   int
	changed     int    // elements that the merge changes
	ulp         int64  // largest distance in ordinals
	float32     bool   // every element may come from a delta computed in float32
	places      rowSet // scratch: elements of a row that differ
	base        int    // elements of runs that are the base's to the bit
}

func (c *comparison) merge(o comparison) {
	if c.runs == 0 {
		c.float32 = true
	}
	c.runs += o.runs
	c.unequalRuns += o.unequalRuns
	c.differing += o.differing
	c.changed += o.changed
	c.ulp = max(c.ulp, o.ulp)
	c.float32 = c.float32 && o.float32
	c.base += o.base
}

// hopeless reports whether a closer look at more elements cannot help.
func (c *comparison) hopeless() bool { return c.runs > 0 && !c.float32 && c.ulp > 2 }

// A rowReader looks at rows of a tensor with what a merge knows of them: the
// base's values, the delta with the bound of its error here and in float32, and
// the elements of a checkpoint.
type rowReader func(w, merged []byte, d []float64, bound, coarse float64, plane, row, col int) error

// compareRun compares elements [first, last) of a checkpoint's tensor with
// what the change makes; known is the comparison so far.
func (k *worker) compareRun(ch *change, merged []byte, first, last int, known comparison) (c comparison, err error) {
	width := ch.out.DType.Bits() / 8
	k.scratch = grow(k.scratch, (last-first)*width)
	var s Stats
	if err := k.elements(k.scratch, ch, int64(first), int64(last), &s); err != nil {
		return c, err
	}
	c = comparison{runs: 1, changed: s.Changed, float32: true}
	have, want := merged[first*width:last*width], k.scratch
	if bytes.Equal(have, want) {
		return c, nil
	}
	c.unequalRuns = 1
	if ch.in == ch.out.DType && bytes.Equal(have, ch.source[first*width:last*width]) {
		c.base = last - first
	}
	if c.base > 0 || known.hopeless() {
		c.float32, c.ulp, c.differing = false, 3, countDifferent(have, want, width)
		return c, nil
	}
	expected := bytes.Clone(want)
	err = k.read(ch, merged, first, last, func(w, m []byte, d []float64, _, coarse float64, plane, row, col int) error {
		at := (int(ch.elementIndex(plane, row, col)) - first) * width
		c.row(ch, w, m, expected[at:at+len(m)], d, coarse, row)
		return nil
	})
	return c, err
}

func countDifferent(a, b []byte, width int) (n int) {
	for at := 0; at < len(a); at += width {
		if string(a[at:at+width]) != string(b[at:at+width]) {
			n++
		}
	}
	return n
}

// row compares a row.
func (c *comparison) row(ch *change, w, merged, want []byte, d []float64, coarse float64, row int) {
	out := ch.out.DType
	c.places.begin(len(d))
	c.places.addDifferent(merged, want, out.Bits()/8)
	for j := range c.places.all() {
		have, should := out.Bits64(merged, j), out.Bits64(want, j)
		c.differing++
		if c.hopeless() {
			continue
		}
		n := out.Ordinal(have) - out.Ordinal(should)
		if n < 0 {
			n = -n
		}
		c.ulp = max(c.ulp, n)
		if ch.dora != nil || ch.isReplaced(row) || !isFinite(out, have) {
			c.float32 = false
			continue
		}
		x := valueAt(ch.in, w, j)
		t := x + d[j]
		c.float32 = c.float32 && nearestCell(out, have).meets(t, coarse+float64(math.Abs(t)*0x1p-23))
	}
}

func valueAt(d dtype.DType, src []byte, j int) float64 { return d.Value(d.Bits64(src, j)) }

// read calls do for the rows of elements [first, last).
func (k *worker) read(ch *change, merged []byte, first, last int, do rowReader) error {
	k.scratch = grow(k.scratch, (last-first)*(ch.out.DType.Bits()/8))
	if ch.single() {
		return k.c32.read(k.scratch, ch, merged, first, last, do)
	}
	return k.c64.read(k.scratch, ch, merged, first, last, do)
}

func (c *computer[T]) read(scratch []byte, ch *change, merged []byte, first, last int, do rowReader) error {
	c.reader, c.beside = do, merged
	defer func() { c.reader, c.beside = nil, nil }()
	var s Stats
	return c.fill(scratch, ch, first, last, &s)
}

// readRow gives a row to the reader of the change.
func (c *computer[T]) readRow(source []byte, d []T, bound float64, row, col int) error {
	ch := c.change
	if len(c.laid) == 0 {
		clear(d)
	}
	c.deltas = grow(c.deltas, len(d))
	for j, x := range d {
		c.deltas[j] = float64(x)
	}
	width := ch.out.DType.Bits() / 8
	at := int(ch.elementIndex(c.plane, row, col)) * width
	return c.reader(source, c.beside[at:at+len(d)*width], c.deltas, slack[T](bound), slack[T](bound*(0x1p-24/c.epsilon)), c.plane, row, col)
}
