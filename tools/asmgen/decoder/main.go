// Decoder writes the assembly of train/internal/backend/cpu: the amd64 kernels
// that work element by element on rows, and their Go declarations. Run it by
// `go generate ./train/internal/backend/cpu`.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64,!noasm")
	for _, s := range []set{{"AVX512", true}, {"AVX2", false}} {
		addScaled(s)
		scale(s)
		most(s)
		gate(s)
		gateGrad(s)
		normalise(s)
		normSum(s)
		normGrad(s)
		scoreGrad(s)
		dot(s)
		dotWide(s)
		rotate(s)
		adam(s)
	}
	Generate()
}

// block is how many values a turn of every loop takes.
const block = 16

// A set is an instruction set: AVX-512F or AVX2.
type set struct {
	name string
	wide bool // 512-bit registers, or 256
}

func (s set) reg() VecVirtual {
	if s.wide {
		return ZMM()
	}
	return YMM()
}

// half allocates a register of half the size.
func (s set) half() VecVirtual {
	if s.wide {
		return YMM()
	}
	return XMM()
}

// bytes returns the size of a register.
func (s set) bytes() int {
	if s.wide {
		return 64
	}
	return 32
}

// each calls f for the offset in bytes of every register of a block of float32.
func (s set) each(f func(at int)) {
	for at := 0; at < 4*block; at += s.bytes() {
		f(at)
	}
}

// broadcast returns a register with a float32 parameter in every element.
func (s set) broadcast(name string) VecVirtual {
	c, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	r := s.reg()
	VBROADCASTSS(c.Addr, r)
	return r
}

// one returns a register with 1 in every element.
func (s set) one() VecVirtual {
	r, x, g := s.reg(), XMM(), GP32()
	MOVL(U32(0x3f800000), g)
	VMOVD(g, x)
	VPBROADCASTD(x, r)
	return r
}

// load returns a register with the values at m.
func (s set) load(m Mem) VecVirtual {
	r := s.reg()
	VMOVUPS(m, r)
	return r
}

// binary returns the result of an instruction such as VMULPS on b and a.
func (s set) binary(op func(...Op), b, a Op) VecVirtual {
	r := s.reg()
	op(b, a, r)
	return r
}

func (s set) mul(b, a Op) VecVirtual { return s.binary(VMULPS, b, a) }
func (s set) add(b, a Op) VecVirtual { return s.binary(VADDPS, b, a) }

// sub returns a − b.
func (s set) sub(b, a Op) VecVirtual { return s.binary(VSUBPS, b, a) }

// div returns a / b.
func (s set) div(b, a Op) VecVirtual { return s.binary(VDIVPS, b, a) }

// A row is the address of the current block of a parameter.
type row struct {
	base Register
	i    GPVirtual
}

func (r row) at(disp int) Mem { return Mem{Base: r.base, Index: r.i, Scale: 4, Disp: disp} }

// begin starts a function of n and rows, with more parameters behind them.
func (s set) begin(name, more string, rows []string, doc ...string) (n Register, list []row) {
	params := "func(n int"
	for _, r := range rows {
		params += ", " + r + " *float32"
	}
	TEXT(name+s.name, NOSPLIT, params+more+")")
	Pragma("noescape")
	Doc(append([]string{name + s.name + " computes, for n a multiple of 16, every product rounded,", ""}, doc...)...)
	n = Load(Param("n"), GP64())
	i := GP64()
	for _, r := range rows {
		list = append(list, row{Load(Param(r), GP64()), i})
	}
	return n, list
}

// loop emits body for every block and then end.
func (s set) loop(n Register, i GPVirtual, body, end func()) {
	XORQ(i, i)
	Label("loop")
	CMPQ(i, n)
	JGE(LabelRef("done"))
	body()
	ADDQ(I8(block), i)
	JMP(LabelRef("loop"))
	Label("done")
	end()
	VZEROUPPER()
	RET()
}

func nothing() {}
