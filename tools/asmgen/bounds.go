package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// addBounds emits the loop of AddBounds32 or AddBounds64.
func addBounds(v vector) {
	name := v.name("addBounds")
	abs, scale, power := uint64(1<<31-1), uint64(127-22)<<23, -22
	if v.size == 8 {
		abs, scale, power = 1<<63-1, (1023-51)<<52, -51
	}
	begin(name, fmt.Sprintf("func(n int, lo, hi, w, d *%[1]s, e %[1]s)", v.elem()),
		fmt.Sprintf("%s computes, for n a multiple of %d,", name, v.lanes()),
		"",
		"\tfor i in 0…n-1:",
		"\t\tt = w[i] + d[i]",
		fmt.Sprintf("\t\tm = fma(|t|, 2^%d, e)", power),
		"\t\tlo[i], hi[i] = t-m, t+m")

	n := Load(Param("n"), GP64())
	lo := Load(Param("lo"), GP64())
	hi := Load(Param("hi"), GP64())
	w := Load(Param("w"), GP64())
	d := Load(Param("d"), GP64())
	e := v.reg()
	p, err := Param("e").Resolve()
	if err != nil {
		panic(err)
	}
	v.broadcast(p.Addr, e)
	mask, factor := v.constant(abs), v.constant(scale)
	at := func(base Register, i GPVirtual) Mem { return Mem{Base: base, Index: i, Scale: uint8(v.size)} }

	i := GP64()
	XORQ(i, i)
	Label("loop")
	CMPQ(i, n)
	JGE(LabelRef("done"))
	t, m, sum := v.reg(), v.reg(), v.reg()
	v.move(at(w, i), t)
	v.add(at(d, i), t, t)
	v.and(t, mask, m)
	v.fmaddTo(e, factor, m)
	v.add(m, t, sum)
	v.sub(m, t, t)
	v.move(t, at(lo, i))
	v.move(sum, at(hi, i))
	ADDQ(I8(v.lanes()), i)
	JMP(LabelRef("loop"))
	Label("done")
	end()
}
