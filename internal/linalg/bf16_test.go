package linalg

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// availableBF16 returns the implementations of products of bfloat16 values
// that this machine can run.
func availableBF16() []isa {
	all := []isa{genericFlush}
	for i := avx2Flush; i <= bestBF16(); i++ {
		all = append(all, i)
	}
	return all
}

func onAllBF16(t *testing.T, f func(t *testing.T, i isa)) {
	for _, i := range availableBF16() {
		t.Run(i.String(), func(t *testing.T) { f(t, i) })
	}
}

// special16 is bfloat16 values at the limits: zeros, subnormals, the smallest
// and the largest normal numbers, infinities and a NaN.
var special16 = []uint16{
	0, 0x8000, 1, 0x8001, 0x7f, 0x80, 0x8080, 0x81, 0xff, 0x3f80, 0xbf80, 0x3f81, 0x7f7f, 0xff7f, 0x7f80, 0xff80, 0x7fc0, 0x2000, 0x1f80, 0xa001,
}

// randomBF16 returns a matrix with padding after each row, some values special
// and the others with exponents in a range about 1, or about 2^-63, where
// products begin to underflow.
func randomBF16(rows, cols, padding int, seed uint64) BF16 {
	r := rand.New(rand.NewPCG(seed, 16))
	stride := cols + padding
	m := BF16{make([]byte, 2*rows*stride+2), rows, cols, stride}
	for n := range rows * stride {
		center := 127
		if n/stride%3 == 2 {
			center = 64
		}
		v := uint16(r.Uint32())&0x807f | uint16(center-10+r.IntN(20))<<7
		if seed%2 == 1 && r.IntN(40) == 0 {
			v = special16[r.IntN(14)] // none infinite, most would be NaN
		}
		binary.LittleEndian.PutUint16(m.Data[2*n:], v)
	}
	return m
}

func (m BF16) at(i, j int) float32 {
	if i >= m.Rows || j >= m.Cols {
		return 0
	}
	return math.Float32frombits(uint32(binary.LittleEndian.Uint16(m.Data[2*(i*m.Stride+j):])) << 16)
}

// floats returns numbers that round to m's, each by a different error.
func (m BF16) floats(seed uint64) Mat[float32] {
	r := rand.New(rand.NewPCG(seed, 17))
	f := Mat[float32]{make([]float32, m.Rows*(m.Cols+3)), m.Rows, m.Cols, m.Cols + 3, 1}
	for i := range m.Rows {
		for j := range m.Cols {
			x := m.at(i, j)
			if b := math.Float32bits(x); x-x == 0 && b&(1<<16) == 0 {
				x = math.Float32frombits(b + uint32(r.IntN(1<<15+1))) // ties go to even
			}
			f.Data[i*f.RowStride+j] = x
		}
	}
	return f
}

// referenceBF16 is ProductsBF16 as its comment defines it, of an A that is
// rounded.
func referenceBF16(c Mat[float32], a BF16, t BF16Term) {
	b := t.B.at
	if t.TB {
		b = func(i, j int) float32 { return t.B.at(j, i) }
	}
	for i := range c.Rows {
		for j := range c.Cols {
			var acc float32
			if t.Add {
				acc = c.at(i, j)
			}
			for p := range (a.Cols + 1) / 2 {
				acc = fmaFlush(a.at(i, 2*p+1), b(2*p+1, j), acc)
				acc = fmaFlush(a.at(i, 2*p), b(2*p, j), acc)
			}
			c.Data[i*c.RowStride+j] = acc
		}
	}
}

// exactFlush is fmaFlush by big.Float, where that has an answer.
func exactFlush(x, y, z float32) float32 {
	x, y, z = flush(x), flush(y), flush(z)
	plain := float64(float64(x)*float64(y)) + float64(z)
	if plain == 0 || !finite(plain) {
		return float32(plain)
	}
	const enough = 1000
	s := new(big.Float).SetPrec(enough).Mul(big.NewFloat(float64(x)), big.NewFloat(float64(y)))
	s.Add(s, big.NewFloat(float64(z)))
	rounded := new(big.Float).SetPrec(24).SetMode(big.ToNearestEven).Set(s)
	if new(big.Float).Abs(rounded).Cmp(big.NewFloat(0x1p-126)) < 0 {
		return float32(math.Copysign(0, plain))
	}
	f, _ := rounded.Float32()
	return f
}

// near draws a bfloat16 value of an exponent, or close to it.
func near(r *rand.Rand, exponent, spread int) uint16 {
	e := max(0, exponent+r.IntN(spread)-spread/2)
	return uint16(r.Uint32())&0x807f | uint16(e)<<7
}

// nearSmallest draws a number near the smallest normal one.
func nearSmallest(r *rand.Rand) float32 {
	if r.IntN(2) == 0 {
		return math.Float32frombits(0x800000 + uint32(r.IntN(5)) - 2 | r.Uint32()&(1<<31))
	}
	return math.Float32frombits(r.Uint32()&0x80ffffff + uint32(r.IntN(3))<<23)
}

func TestFMAFlush(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 100000 {
		e := 2 + r.IntN(120)
		x := math.Float32frombits(uint32(near(r, e, 1)) << 16)
		y := math.Float32frombits(uint32(near(r, 115-e, 34)) << 16)
		z := nearSmallest(r)
		if got, want := fmaFlush(x, y, z), exactFlush(x, y, z); different(got, want) {
			t.Fatalf("fmaFlush(%x, %x, %x) = %x, want %x", x, y, z, got, want)
		}
	}
}

func TestProductsBF16(t *testing.T) { onAllBF16(t, testProductsBF16) }

func testProductsBF16(t *testing.T, i isa) {
	extra := []struct{ m, n, k int }{{5, 70, 1027}, {13, 40, 1030}}
	for n, s := range append(extra, sizes...) {
		for padding := range 3 {
			if s.m*s.n*s.k > 20000 && padding > 0 {
				continue
			}
			rounded := randomBF16(s.m, s.k, 0, uint64(n))
			a := rounded.floats(uint64(n))
			for _, tb := range []bool{false, true} {
				b := randomBF16(s.k, s.n, padding, uint64(n+1))
				if tb {
					b = randomBF16(s.n, s.k, padding, uint64(n+1))
				}
				b.Data = b.Data[:len(b.Data)-padding] // of an odd length, too
				got, want := output[float32](s.m, s.n)
				term := BF16Term{C: got, B: b, TB: tb, Add: n%2 == 0}
				productsBF16(i, 1+padding, a, []BF16Term{term})
				referenceBF16(want, rounded, term)
				sameBits(t, fmt.Sprint(s, padding, tb), got.Data, want.Data)
			}
		}
	}
}

// Odd addresses are as good as others.
func TestProductsBF16Unaligned(t *testing.T) { onAllBF16(t, testProductsBF16Unaligned) }

func testProductsBF16Unaligned(t *testing.T, i isa) {
	rounded, b := randomBF16(7, 50, 0, 1), randomBF16(50, 50, 0, 2)
	b.Data = append(make([]byte, 1, len(b.Data)+1), b.Data...)[1:]
	for _, tb := range []bool{false, true} {
		got, want := output[float32](7, 50)
		productsBF16(i, 1, rounded.floats(1), []BF16Term{{C: got, B: b, TB: tb}})
		referenceBF16(want, rounded, BF16Term{C: want, B: b, TB: tb})
		sameBits(t, fmt.Sprint(tb), got.Data, want.Data)
	}
}

// TestFlush draws operands whose sums lie near the smallest normal number, of
// one pair of products and a sum before it.
func TestFlush(t *testing.T) { onAllBF16(t, testFlush) }

func testFlush(t *testing.T, i isa) {
	r := rand.New(rand.NewPCG(5, 6))
	const lanes = 64
	a, b := BF16{make([]byte, 4), 1, 2, 2}, BF16{make([]byte, 4*lanes), 2, lanes, lanes}
	for range 4000 {
		e := 2 + r.IntN(120)
		for j := range 2 {
			binary.LittleEndian.PutUint16(a.Data[2*j:], near(r, e, 1))
		}
		got, want := output[float32](1, lanes)
		for j := range lanes {
			for p := range 2 {
				binary.LittleEndian.PutUint16(b.Data[2*(p*lanes+j):], near(r, 115-e, 34))
			}
			got.Data[j] = nearSmallest(r)
		}
		copy(want.Data, got.Data)
		productsBF16(i, 1, a.floats(0), []BF16Term{{C: got, B: b, Add: true}})
		referenceBF16(want, a, BF16Term{C: want, B: b, Add: true})
		sameBits(t, fmt.Sprintf("%x %x", a.Data, b.Data), got.Data, want.Data)
	}
}

// TestProductsBF16Special puts special values everywhere.
func TestProductsBF16Special(t *testing.T) { onAllBF16(t, testProductsBF16Special) }

func testProductsBF16Special(t *testing.T, i isa) {
	a, b := randomBF16(29, 6, 0, 0), randomBF16(6, 75, 0, 0)
	for n := range 29 * 6 {
		binary.LittleEndian.PutUint16(a.Data[2*n:], special16[(n*n+3*n)%len(special16)])
	}
	for n := range 6 * 75 {
		binary.LittleEndian.PutUint16(b.Data[2*n:], special16[(n*7+n/5)%len(special16)])
	}
	got, want := output[float32](29, 75)
	got.Data[0], want.Data[0] = float32(math.Copysign(0, -1)), float32(math.Copysign(0, -1))
	productsBF16(i, 1, a.floats(3), []BF16Term{{C: got, B: b, Add: true}})
	referenceBF16(want, a, BF16Term{C: want, B: b, Add: true})
	sameBits(t, "special", got.Data, want.Data)
}

// The assembly rounds as roundOne does, and that as big.Float.
func TestRoundBF16(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	src := append([]float32(nil), hard32...)
	for range 50000 {
		bits := r.Uint32()
		if r.IntN(2) == 0 {
			bits = bits&^0xffff | 0x8000 + uint32(r.IntN(3)) - 1
		}
		src = append(src, math.Float32frombits(bits))
	}
	dst := make([]byte, 2*len(src)+2)
	roundBF16(dst, src)
	for n, x := range src {
		got := math.Float32frombits(uint32(binary.LittleEndian.Uint16(dst[2*n:])) << 16)
		want := x
		if finite(float64(x)) && math.Abs(float64(x)) >= 0x1p-126 {
			f, _ := new(big.Float).SetPrec(8).SetMode(big.ToNearestEven).SetFloat64(float64(x)).Float64()
			want = float32(f)
			if math.Abs(f) >= 0x1p128 {
				want = float32(math.Inf(int(math.Copysign(1, f))))
			}
		} else if math.Abs(float64(x)) < 0x1p-126 {
			want = float32(math.RoundToEven(float64(x)*0x1p133)) * 0x1p-133
			want = float32(math.Copysign(float64(want), float64(x)))
		}
		if different(got, want) && (got == got || x == x) {
			t.Fatalf("%x rounds to %x, want %x", x, got, want)
		}
	}
}

func TestProductsBF16Workers(t *testing.T) {
	rounded := randomBF16(100, 60, 0, 2)
	a, b, c := rounded.floats(1), randomBF16(300, 60, 0, 4), randomBF16(60, 45, 1, 6)
	var want []float32
	for workers := 1; workers <= 5; workers++ {
		x, _ := output[float32](100, 300)
		y, _ := output[float32](100, 45)
		ProductsBF16(workers, a, BF16Term{C: x, B: b, TB: true}, BF16Term{C: y, B: c, Add: true})
		all := append(x.Data, y.Data...)
		if want == nil {
			want = all
		}
		sameBits(t, fmt.Sprint(workers), all, want)
	}
}

func TestProductsBF16Panics(t *testing.T) {
	c, a, b := random[float32](3, 4, 1), random[float32](3, 5, 2), randomBF16(5, 4, 0, 1)
	short := b
	short.Data = short.Data[:39]
	for name, f := range map[string]func(){
		"shape":       func() { ProductsBF16(1, a, BF16Term{C: c, B: b, TB: true}) },
		"short":       func() { ProductsBF16(1, a, BF16Term{C: c, B: short}) },
		"transposedA": func() { ProductsBF16(1, random[float32](5, 3, 2).T(), BF16Term{C: c, B: b}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func BenchmarkProductsBF16(b *testing.B) {
	shapes := []struct{ m, n, k int }{
		{1024, 576, 576}, {1024, 192, 576}, {1024, 1536, 576}, {1024, 576, 1536}, {512, 49152, 576}, {512, 576, 49152}, {1, 49152, 576}, {1, 1536, 576},
	}
	for _, s := range shapes {
		x, c := random[float32](s.m, s.k, 1), random[float32](s.m, s.n, 3)
		for _, tb := range []bool{true, false} {
			w, rows, cols := random[float32](s.n, s.k, 2), s.n, s.k
			if !tb {
				rows, cols = s.k, s.n
			}
			raw := BF16{make([]byte, 2*rows*cols), rows, cols, cols}
			roundBF16(raw.Data, w.Data)
			for _, workers := range []int{1, 2} {
				name := fmt.Sprintf("%dx%dx%d/TB=%v/workers=%d", s.m, s.n, s.k, tb, workers)
				for _, i := range availableBF16()[1:] {
					b.Run(name+"/"+i.String(), func(b *testing.B) {
						for b.Loop() {
							productsBF16(i, workers, x, []BF16Term{{C: c, B: raw, TB: tb}})
						}
						gflops(b, s.m, s.n, s.k)
					})
				}
				b.Run(name+"/float32", func(b *testing.B) {
					y := Dense(w.Data, rows, cols)
					if tb {
						y = w.T()
					}
					for b.Loop() {
						Products(workers, x, Term[float32]{C: c, B: FactorOf(y)})
					}
					gflops(b, s.m, s.n, s.k)
				})
			}
		}
	}
}
