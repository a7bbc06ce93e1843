package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// peakChains is the number of independent chains: more than latency times
// throughput on any processor so far (4 cycles × 2).
const peakChains = 12

// peak emits a loop of fused multiply-adds on registers only. Benchmarks
// compare kernels with it.
func peak(v vector) {
	name := v.name("peak")
	TEXT(name, NOSPLIT, "func(n int)")
	Doc(name + " does n rounds of 12 independent fused multiply-adds of registers.")
	n := Load(Param("n"), GP64())
	x := v.reg()
	v.zero(x)
	var acc [peakChains]VecVirtual
	for i := range acc {
		acc[i] = v.reg()
		v.zero(acc[i])
	}
	Label("loop")
	TESTQ(n, n)
	JLE(LabelRef("done"))
	for _, r := range acc {
		v.fmadd(x, x, r)
	}
	SUBQ(I8(1), n)
	JMP(LabelRef("loop"))
	Label("done")
	end()
}
