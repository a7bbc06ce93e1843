package dtype

import "math"

// A Range is the first and the last of the ordinals of a row of 16-bit values;
// it is empty if Last is below First.
type Range struct{ First, Last int16 }

// Unclear is the range that Find does not find. It is no ordinal's: -1<<15
// would be that of a NaN.
var Unclear = Range{First: math.MinInt16, Last: math.MinInt16}

// A Preimager finds the values that became others by adding a number and
// rounding, for one dtype of 16 bits.
type Preimager struct {
	grid      Grid
	constants [8]uint64 // what the kernels need of it
}

// Preimager returns what finds preimages in a dtype of 16 bits.
func (d DType) Preimager() *Preimager {
	g := d.Grid()
	return &Preimager{g, [8]uint64{
		uint64(g.shift), g.rebias, 1 << (g.shift - 1), // half the spacing, as bits of a float64
		1<<g.shift - 1 - g.rebias,               // added to bits before they are shifted, to round up
		g.normal + 1, uint64(g.most) - g.normal, // magnitudes: the first above the smallest normal one, how many there are
		g.normal64, g.limit64, // bits: of the smallest normal value, how many there are up to the largest
	}}
}

// Find sets r[i] to the range of the values v for which v + x[i] is not closer
// to another value than to the one with the bits halves[i], where x[i] may be
// wrong by e. It is Unclear where e matters, and wherever one of the values in
// question is not normal, or of another sign than the others: there are few.
func (p *Preimager) Find(r []Range, halves []uint16, x []float64, e float64) {
	p.findBy(best(), r, halves, x, e)
}

func (p *Preimager) findBy(k *kernels, r []Range, halves []uint16, x []float64, e float64) {
	n := len(r)
	halves, x = halves[:n], x[:n]
	if k.preimages == nil {
		p.find(r, halves, x, e)
		return
	}
	whole := n / block * block
	if whole > 0 {
		k.preimages(whole, &r[0].First, &halves[0], &x[0], e, &p.constants[0])
	}
	if whole < n { // a block that ends in zeros
		var found [block]Range
		var h [block]uint16
		var y [block]float64
		copy(h[:], halves[whole:])
		copy(y[:], x[whole:])
		k.preimages(block, &found[0].First, &h[0], &y[0], e, &p.constants[0])
		copy(r[whole:], found[:])
	}
}

// find is Find for any processor, almost without jumps.
func (p *Preimager) find(r []Range, halves []uint16, x []float64, e float64) {
	g := &p.grid
	for i, bits := range halves {
		m, negative := uint64(bits&0x7fff), uint64(bits>>15)
		low, high := g.aroundNormal(m)
		// As if the value were positive.
		y := math.Float64frombits(math.Float64bits(x[i]) ^ negative<<63)
		err := e + float64((high+math.Abs(y))*0x1p-50)
		low, high = low-y, high-y
		first, last := g.ceilNormal(low-err), g.floorNormal(high+err)
		if !g.isNormal(m) || !g.spans(low-err, high+err) || first != g.ceilNormal(low+err) || last != g.floorNormal(high-err) {
			r[i] = Unclear
			continue
		}
		// The ordinals of negative values are the complements, in reverse.
		a, b := int16(first)^-int16(negative), int16(last)^-int16(negative)
		r[i] = Range{min(a, b), max(a, b)}
		if first > last {
			r[i] = Range{1, 0}
		}
	}
}
