// Rows writes the assembly of train/internal/backend/cpu: the amd64 kernels
// that work element by element on rows, and their Go declarations. Run it by
// `go generate ./train/internal/backend/cpu`.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/loratool/loratool/tools/asmgen/isa"
)

func main() {
	ConstraintExpr("amd64,!noasm")
	for _, i := range isa.Sets {
		s := set{i}
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

// A set is an instruction set and its arithmetic.
type set struct{ isa.Set }

// each calls f for the offset in bytes of every register of a block of float32.
func (s set) each(f func(at int)) {
	for at := 0; at < 4*isa.Block; at += s.Bytes() {
		f(at)
	}
}

// broadcast returns a register with a float32 parameter in every element.
func (s set) broadcast(name string) VecVirtual {
	c, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	r := s.Reg()
	VBROADCASTSS(c.Addr, r)
	return r
}

// one returns a register with 1 in every element.
func (s set) one() VecVirtual { return s.Constant(0x3f800000) }

// load returns a register with the values at m.
func (s set) load(m Mem) VecVirtual {
	r := s.Reg()
	VMOVUPS(m, r)
	return r
}

// binary returns the result of an instruction such as VMULPS on b and a.
func (s set) binary(op func(...Op), b, a Op) VecVirtual {
	r := s.Reg()
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
	TEXT(name+s.Name, NOSPLIT, params+more+")")
	Pragma("noescape")
	Doc(append([]string{name + s.Name + " computes, for n a multiple of 16, every product rounded,", ""}, doc...)...)
	n = Load(Param("n"), GP64())
	i := GP64()
	for _, r := range rows {
		list = append(list, row{Load(Param(r), GP64()), i})
	}
	return n, list
}
