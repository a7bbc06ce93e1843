package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// expLanes is the number of partial sums, whatever the width of a register.
const expLanes = 16

// The numbers of linalg.exp, see there.
var (
	expPoly  = []float32{1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1}
	expLog2e = float32(1.44269504088896341)
	expLn2Hi = float32(0.693359375)
	expLn2Lo = float32(-2.12194440e-4)
)

// expSum emits the loop of ExpSum.
func expSum(v vector) {
	name := v.name("expSum")
	begin(name, "func(n int, y, x *float32, scale, shift float32, sums *float32)",
		fmt.Sprintf("%s computes, for n a multiple of %d,", name, expLanes),
		"",
		"\tfor i in 0…n-1:",
		"\t\ty[i] = exp(x[i]*scale - shift)",
		fmt.Sprintf("\t\tsums[i mod %d] += y[i]", expLanes),
		"",
		"with every product rounded before it is added, and exp as the function of that name.")
	n := Load(Param("n"), GP64())
	y := Load(Param("y"), GP64())
	x := Load(Param("x"), GP64())
	sums := Load(Param("sums"), GP64())
	e := newExp(v)
	perStep := expLanes / v.lanes()
	acc := make([]VecVirtual, perStep)
	for k := range acc {
		acc[k] = v.reg()
		v.move(Mem{Base: sums, Disp: k * v.bytes()}, acc[k])
	}
	i := GP64()
	XORQ(i, i)
	Label("loop")
	CMPQ(i, n)
	JGE(LabelRef("done"))
	for k := range acc {
		at := func(base Register) Mem { return Mem{Base: base, Index: i, Scale: 4, Disp: k * v.bytes()} }
		r := e.of(at(x))
		v.move(r, at(y))
		v.add(r, acc[k], acc[k])
	}
	ADDQ(I8(expLanes), i)
	JMP(LabelRef("loop"))
	Label("done")
	for k := range acc {
		v.move(acc[k], Mem{Base: sums, Disp: k * v.bytes()})
	}
	end()
}

// An exp holds the constants of the exponential in registers.
type exp struct {
	v                               vector
	scale, shift, low, high         VecVirtual
	log2e, magic, ln2Hi, ln2Lo, one VecVirtual
	poly                            []VecVirtual
}

func newExp(v vector) *exp {
	e := &exp{v: v, scale: v.reg(), shift: v.reg()}
	for _, p := range []struct {
		name string
		r    VecVirtual
	}{{"scale", e.scale}, {"shift", e.shift}} {
		c, err := Param(p.name).Resolve()
		if err != nil {
			panic(err)
		}
		v.broadcast(c.Addr, p.r)
	}
	number := func(x float32) VecVirtual { return v.constant(uint64(math.Float32bits(x))) }
	e.low, e.high, e.log2e, e.magic = number(-87), number(88), number(expLog2e), number(1.5*(1<<23))
	e.ln2Hi, e.ln2Lo, e.one = number(expLn2Hi), number(expLn2Lo), number(1)
	for _, c := range expPoly {
		e.poly = append(e.poly, number(c))
	}
	return e
}

// of emits the exponential of scale·x − shift. Where an operand is NaN,
// VMAXPS and VMINPS return the one named first here.
func (e *exp) of(from Mem) VecVirtual {
	v := e.v
	x, t, r, p := v.reg(), v.reg(), v.reg(), v.reg()
	v.move(from, x)
	VMULPS(e.scale, x, x)
	VSUBPS(e.shift, x, x)
	VMAXPS(x, e.low, x)
	VMINPS(x, e.high, x)
	VMULPS(e.log2e, x, t)
	VADDPS(e.magic, t, t)
	VSUBPS(e.magic, t, r) // n
	VMULPS(e.ln2Hi, r, p)
	VSUBPS(p, x, x)
	VMULPS(e.ln2Lo, r, p)
	VSUBPS(p, x, x)
	v.move(e.poly[0], p)
	for _, c := range e.poly[1:] {
		VMULPS(x, p, p)
		VADDPS(c, p, p)
	}
	VMULPS(x, x, r)
	VMULPS(r, p, p)
	VADDPS(x, p, p)
	VADDPS(e.one, p, p)
	VPSLLD(U8(23), t, t)
	VPADDD(t, p, p)
	return p
}
