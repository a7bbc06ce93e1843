// Asmgen writes the assembly of internal/linalg: the amd64 kernels and their
// Go declarations. Run it by `go generate ./internal/linalg`.
package main

import "github.com/mmcloughlin/avo/build"

func main() {
	build.ConstraintExpr("amd64,!noasm")
	for _, v := range []vector{avx512F32, avx2F32, avx512F64, avx2F64} {
		for rows := v.maxRows; rows > 0; rows -= v.rowStep {
			tile(v, rows)
		}
		addBounds(v)
		update(v)
		peak(v)
		if v.size == 4 {
			expSum(v)
		}
	}
	narrow(avx512F32, avx512F32.maxRows, true)
	narrow(avx512F32, avx512F32.maxRows, false)
	for rows := avx512F32.maxRows; rows > 0; rows -= avx512F32.rowStep {
		direct(avx512F32, rows)
		rowTile(avx512F32, rows)
	}
	for _, v := range []vector{avx512Pairs, avx512Flush, avx2Flush} {
		for rows := v.maxRows; rows > 0; rows -= v.rowStep {
			tile(v, rows)
		}
	}
	roundBF16(avx2F32)
	interleave(avx2F32)
	widen(avx2F32, "widen", false)
	widen(avx2F32, "widenSwapped", true)
	packEight()
	packTwelve()
	copyPanels()
	build.Generate()
}
