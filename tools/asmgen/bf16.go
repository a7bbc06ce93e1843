package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// tileReg returns register n of a tile kernel. That of pairs must know its
// registers, as neither avo nor Go's assembler knows the instruction.
func (v vector) tileReg(n int) Register {
	if !v.pairs {
		return v.reg()
	}
	return Vector.Lookup(Index(n), S512)
}

// dotPairs emits VDPBF16PS y, x, acc in bytes:
// EVEX.512.F3.0F38.W0 52 /r, with acc in ModRM.reg, x in vvvv, y in ModRM.rm.
func dotPairs(y, x, acc Register) {
	rm, vvvv, reg := number(y), number(x), number(acc)
	bit := func(n, b int) int { return n >> b & 1 }
	p0 := (1-bit(reg, 3))<<7 | (1-bit(rm, 4))<<6 | (1-bit(rm, 3))<<5 | (1-bit(reg, 4))<<4 | 2
	p1 := (^vvvv&15)<<3 | 1<<2 | 2
	p2 := 2<<5 | (1-bit(vvvv, 4))<<3
	prefix := uint32(0x62 | p0<<8 | p1<<16 | p2<<24)
	Commentf("VDPBF16PS Z%d, Z%d, Z%d", rm, vvvv, reg)
	Instruction(&ir.Instruction{
		Opcode: "LONG", Operands: []Op{U32(prefix)}, Inputs: []Op{y, x, acc}, Outputs: []Op{acc},
	})
	Instruction(&ir.Instruction{Opcode: "WORD", Operands: []Op{U16(0x52 | (0xc0|reg&7<<3|rm&7)<<8)}})
}

// number returns the number of a physical register.
func number(r Register) int { return int(r.(Physical).PhysicalIndex()) }

// flushSubnormals emits what makes the processor take subnormal operands and
// results for 0 and returns what undoes that. VDPBF16PS always does so.
func (v vector) flushSubnormals() (restore func()) {
	if !v.flush {
		return func() {}
	}
	const flushAndDenormalsAreZero = 1<<15 | 1<<6 // MXCSR.FTZ, MXCSR.DAZ
	saved, set := AllocLocal(8), GP32()
	STMXCSR(saved)
	MOVL(saved, set)
	ORL(U32(flushAndDenormalsAreZero), set)
	MOVL(set, saved.Offset(4))
	LDMXCSR(saved.Offset(4))
	return func() { LDMXCSR(saved) }
}

// roundBF16 emits the loop of roundBF16.
func roundBF16(v vector) {
	const unordered = 3 // predicate of VCMPPS
	name := "roundBF16" + v.isa
	begin(name, "func(n int, dst *byte, src *float32)",
		name+" computes, for n a multiple of 16, little-endian and of any alignment,",
		"",
		"\tfor i in 0…n-1:",
		"\t\tdst16[i] = roundOne(src[i])")
	n, dst, src := Load(Param("n"), GP64()), Load(Param("dst"), GP64()), Load(Param("src"), GP64())
	one, bias, quiet := v.constant(1), v.constant(0x7fff), v.constant(0x7fc0)
	loop(n, 16, func() {
		for at := 0; at < 16; at += v.lanes() {
			x, r, nan, upper := v.reg(), v.reg(), v.reg(), XMM()
			v.move(Mem{Base: src, Disp: 4 * at}, x)
			VPSRLD(U8(16), x, r)
			VPAND(one, r, r)
			VPADDD(bias, r, r)
			VPADDD(x, r, r)
			VPSRLD(U8(16), r, r)
			VCMPPS(U8(unordered), x, x, nan)
			VBLENDVPS(nan, quiet, r, r)
			VEXTRACTI128(U8(1), r, upper)
			VPACKUSDW(upper, r.AsX(), upper)
			VMOVDQU(upper, Mem{Base: dst, Disp: 2 * at})
		}
		ADDQ(U8(64), src)
		ADDQ(U8(32), dst)
	})
}

// interleave emits the loop of interleave.
func interleave(v vector) {
	name := "interleave" + v.isa
	begin(name, "func(n int, dst *float32, stride int, low, high *byte)",
		name+" computes, for n a multiple of 32, little-endian and of any alignment,",
		"",
		"\tfor i in 0…n-1:",
		"\t\tdst32[i/32*stride+i%32] = high16[i]<<16 | low16[i]")
	n, dst := Load(Param("n"), GP64()), Load(Param("dst"), GP64())
	stride := Load(Param("stride"), GP64())
	low, high := Load(Param("low"), GP64()), Load(Param("high"), GP64())
	SHLQ(U8(2), stride)
	loop(n, 32, func() {
		for at := 0; at < 32; at += v.lanes() {
			x, y := v.reg(), v.reg()
			VPMOVZXWD(Mem{Base: low, Disp: 2 * at}, x)
			VPMOVZXWD(Mem{Base: high, Disp: 2 * at}, y)
			VPSLLD(U8(16), y, y)
			VPOR(x, y, y)
			v.move(y, Mem{Base: dst, Disp: 4 * at})
		}
		ADDQ(stride, dst)
		ADDQ(U8(64), low)
		ADDQ(U8(64), high)
	})
}

// widen emits the loop of widen or of widenSwapped.
func widen(v vector, name string, swapped bool) {
	name += v.isa
	from := "i"
	if swapped {
		from = "i^1"
	}
	begin(name, "func(n int, dst *float32, src *byte)",
		name+" computes, for n a multiple of 16, little-endian and of any alignment,",
		"",
		"\tfor i in 0…n-1:",
		fmt.Sprintf("\t\tdst32[i] = src16[%s]<<16", from))
	n, dst, src := Load(Param("n"), GP64()), Load(Param("dst"), GP64()), Load(Param("src"), GP64())
	loop(n, 16, func() {
		for at := 0; at < 16; at += v.lanes() {
			x := v.reg()
			VPMOVZXWD(Mem{Base: src, Disp: 2 * at}, x)
			VPSLLD(U8(16), x, x)
			if swapped {
				VPSHUFD(U8(0b10_11_00_01), x, x)
			}
			v.move(x, Mem{Base: dst, Disp: 4 * at})
		}
		ADDQ(U8(64), dst)
		ADDQ(U8(32), src)
	})
}

// loop emits a loop of n/step turns and the end of the function.
func loop(n Register, step uint8, body func()) {
	Label("loop")
	TESTQ(n, n)
	JZ(LabelRef("done"))
	body()
	SUBQ(U8(step), n)
	JMP(LabelRef("loop"))
	Label("done")
	end()
}
