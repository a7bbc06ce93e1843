//go:build !amd64 || noasm

package linalg

import "unsafe"

func best() isa { return generic }

func bestBF16() isa { return genericFlush }

func tile32(isa, int, int, *float32, *float32, *float32, int, int, int, bool) {
	panic("linalg: no assembly")
}

func narrow32(isa, int, int, *float32, *float32, *float32, int, bool) bool { return false }

func (i isa) readsRows() bool { return false }

func rows32(int, int, *float32, int, *float32, *float32, int, int, int, bool) {
	panic("linalg: no assembly")
}

func narrowRows32(int, int, *float32, int, *float32, *float32, int, bool) bool { return false }

func (i isa) hasDirect() bool { return false }

func direct32(int, int, *float32, *float32, *float32, int, int, int, bool) {
	panic("linalg: no assembly")
}

func tile64(isa, int, int, *float64, *float64, *float64, int, int, int, bool) {
	panic("linalg: no assembly")
}

func addBounds32(_ isa, lo, hi, w, d []float32, e float32) { addBoundsGeneric(lo, hi, w, d, e) }

func addBounds64(_ isa, lo, hi, w, d []float64, e float64) { addBoundsGeneric(lo, hi, w, d, e) }

func packEight32(int, *float32, int, *float32, int) { panic("linalg: no assembly") }

func packTwelve32(int, *float32, *float32, int) { panic("linalg: no assembly") }

func copyPanels32(int, int, int, *float32, int, *float32, int) { panic("linalg: no assembly") }

func expSum32(_ isa, n int, y, x *float32, scale, shift float32, sums *[lanes32]float32) {
	expSumGeneric(unsafe.Slice(y, n), unsafe.Slice(x, n), scale, shift, sums)
}

func update32(_ isa, n int, w, merged, d *float32, p *partial[float32]) (changed int) {
	return updateGeneric(n, lanes32, w, merged, d, p)
}

func update64(_ isa, n int, w, merged, d *float64, p *partial[float64]) (changed int) {
	return updateGeneric(n, lanes64, w, merged, d, p)
}

func roundBF16Part([]byte, []float32) int { return 0 }

func interleavePart([]float32, int, []byte, []byte) int { return 0 }

func widenBF16Part([]float32, []byte, bool) int { return 0 }
