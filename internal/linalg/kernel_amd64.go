//go:build !noasm

package linalg

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

//go:generate go run -C ../../tools/asmgen . -out ../../internal/linalg/kernels_amd64.s -stubs ../../internal/linalg/kernels_gen.go -pkg linalg

// best returns the fastest implementation that the processor has and GODEBUG
// allows. The AVX2 kernels use POPCNT too; the AVX-512 ones need no more than
// AVX-512F.
func best() isa {
	x := &cpu.X86
	switch {
	case !x.HasAVX2 || !x.HasFMA || !x.HasPOPCNT:
		return generic
	case !x.HasAVX512F:
		return avx2
	}
	return avx512
}

// bestBF16 is best for products of bfloat16 values. The flushing kernels and
// those that round and widen are there for each of best's.
func bestBF16() isa {
	switch best() {
	case generic:
		return genericFlush
	case avx2:
		return avx2Flush
	}
	if !cpu.X86.HasAVX512BF16 {
		return avx512Flush
	}
	return avx512Pairs
}

// tile32 runs the assembly kernel of i for count tiles of rows rows.
func tile32(i isa, rows, k int, a, b, c *float32, ldc, count, stride int, accumulate bool) {
	switch {
	case i == avx512 && rows == 12:
		tile12x32f32AVX512(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx512 && rows == 8:
		tile8x32f32AVX512(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx512 && rows == 4:
		tile4x32f32AVX512(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx2 && rows == 6:
		tile6x16f32AVX2(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx2 && rows == 4:
		tile4x16f32AVX2(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx2 && rows == 2:
		tile2x16f32AVX2(k, a, b, c, ldc, count, stride, accumulate)
	default:
		tileBF16(i, rows, k, a, b, c, ldc, count, stride, accumulate)
	}
}

// tileBF16 runs the assembly kernel of i for products of bfloat16 values.
func tileBF16(i isa, rows, k int, a, b, c *float32, ldc, count, stride int, accumulate bool) {
	switch {
	case i == avx512Pairs && rows == 12:
		tile12x32f32PairsAVX512(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx512Pairs && rows == 8:
		tile8x32f32PairsAVX512(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx512Pairs && rows == 4:
		tile4x32f32PairsAVX512(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx512Flush && rows == 12:
		tile12x32f32FlushAVX512(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx512Flush && rows == 8:
		tile8x32f32FlushAVX512(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx512Flush && rows == 4:
		tile4x32f32FlushAVX512(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx2Flush && rows == 6:
		tile6x16f32FlushAVX2(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx2Flush && rows == 4:
		tile4x16f32FlushAVX2(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx2Flush && rows == 2:
		tile2x16f32FlushAVX2(k, a, b, c, ldc, count, stride, accumulate)
	default:
		panic("linalg: no such tile")
	}
}

// narrow32 runs the assembly kernel of i for the first half of the columns of
// a tile of rows rows, if there is one.
func narrow32(i isa, rows, k int, a, b, c *float32, ldc int, accumulate bool) (done bool) {
	if i != avx512 || rows != 12 {
		return false
	}
	tile12x16f32AVX512(k, a, b, c, ldc, accumulate)
	return true
}

// readsRows reports whether i has kernels for a left-hand factor that is not
// packed.
func (i isa) readsRows() bool { return i == avx512 }

// rows32 runs the assembly kernel for count tiles of rows rows, with A as it
// lies.
func rows32(rows, k int, a *float32, lda int, b, c *float32, ldc, count, stride int, accumulate bool) {
	switch rows {
	case 12:
		rows12x32f32AVX512(k, a, lda, b, c, ldc, count, stride, accumulate)
	case 8:
		rows8x32f32AVX512(k, a, lda, b, c, ldc, count, stride, accumulate)
	case 4:
		rows4x32f32AVX512(k, a, lda, b, c, ldc, count, stride, accumulate)
	default:
		panic("linalg: no such tile")
	}
}

// narrowRows32 is narrow32 with A as it lies.
func narrowRows32(rows, k int, a *float32, lda int, b, c *float32, ldc int, accumulate bool) (done bool) {
	if rows != 12 {
		return false
	}
	rows12x16f32AVX512(k, a, lda, b, c, ldc, accumulate)
	return true
}

// hasDirect reports whether i has kernels for a right-hand factor that is not packed.
func (i isa) hasDirect() bool { return i == avx512 }

// direct32 runs the assembly kernel for count tiles of rows rows, with B
// as it lies.
func direct32(rows, k int, a, b, c *float32, ldb, ldc, count int, accumulate bool) {
	switch rows {
	case 12:
		direct12x32f32AVX512(k, a, b, c, ldb, ldc, count, accumulate)
	case 8:
		direct8x32f32AVX512(k, a, b, c, ldb, ldc, count, accumulate)
	case 4:
		direct4x32f32AVX512(k, a, b, c, ldb, ldc, count, accumulate)
	default:
		panic("linalg: no such tile")
	}
}

// tile64 runs the assembly kernel of i for count tiles of rows rows.
func tile64(i isa, rows, k int, a, b, c *float64, ldc, count, stride int, accumulate bool) {
	switch {
	case i == avx512 && rows == 12:
		tile12x16f64AVX512(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx512 && rows == 8:
		tile8x16f64AVX512(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx512 && rows == 4:
		tile4x16f64AVX512(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx2 && rows == 6:
		tile6x8f64AVX2(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx2 && rows == 4:
		tile4x8f64AVX2(k, a, b, c, ldc, count, stride, accumulate)
	case i == avx2 && rows == 2:
		tile2x8f64AVX2(k, a, b, c, ldc, count, stride, accumulate)
	default:
		panic("linalg: no such tile")
	}
}

func addBounds32(i isa, lo, hi, w, d []float32, e float32) {
	n := len(lo) / lanes32 * lanes32
	switch {
	case i == generic || n == 0:
		n = 0
	case i == avx2:
		addBounds32AVX2(n, &lo[0], &hi[0], &w[0], &d[0], e)
	case i == avx512:
		addBounds32AVX512(n, &lo[0], &hi[0], &w[0], &d[0], e)
	}
	addBoundsGeneric(lo[n:], hi[n:], w[n:], d[n:], e)
}

func addBounds64(i isa, lo, hi, w, d []float64, e float64) {
	n := len(lo) / lanes64 * lanes64
	switch {
	case i == generic || n == 0:
		n = 0
	case i == avx2:
		addBounds64AVX2(n, &lo[0], &hi[0], &w[0], &d[0], e)
	case i == avx512:
		addBounds64AVX512(n, &lo[0], &hi[0], &w[0], &d[0], e)
	}
	addBoundsGeneric(lo[n:], hi[n:], w[n:], d[n:], e)
}

// packEight32 needs AVX, which every implementation but the generic one has.
func packEight32(n int, dst *float32, width int, src *float32, stride int) {
	packEightAVX(n, dst, width, src, stride)
}

// packTwelve32 and copyPanels32 need AVX too.
func packTwelve32(n int, dst, src *float32, stride int) { packTwelveAVX(n, dst, src, stride) }

func copyPanels32(rows, panels, width int, dst *float32, stride int, src *float32, rowStride int) {
	copyPanelsAVX(rows, panels, width, dst, stride, src, rowStride)
}

func expSum32(i isa, n int, y, x *float32, scale, shift float32, sums *[lanes32]float32) {
	switch i {
	case avx512:
		expSum32AVX512(n, y, x, scale, shift, &sums[0])
	case avx2:
		expSum32AVX2(n, y, x, scale, shift, &sums[0])
	default:
		expSumGeneric(unsafe.Slice(y, n), unsafe.Slice(x, n), scale, shift, sums)
	}
}

func update32(i isa, n int, w, merged, d *float32, p *partial[float32]) (changed int) {
	switch i {
	case avx512:
		return update32AVX512(n, w, merged, d, &p.w2[0])
	case avx2:
		return update32AVX2(n, w, merged, d, &p.w2[0])
	}
	return updateGeneric(n, lanes32, w, merged, d, p)
}

func update64(i isa, n int, w, merged, d *float64, p *partial[float64]) (changed int) {
	switch i {
	case avx512:
		return update64AVX512(n, w, merged, d, &p.w2[0])
	case avx2:
		return update64AVX2(n, w, merged, d, &p.w2[0])
	}
	return updateGeneric(n, lanes64, w, merged, d, p)
}

// The first n elements, a multiple of 16, of the loops in bf16.go; 0 if there
// is no assembly.

func roundBF16Part(dst []byte, src []float32) (n int) {
	if n = len(src) / 16 * 16; n == 0 || best() == generic {
		return 0
	}
	roundBF16AVX2(n, &dst[0], &src[0])
	return n
}

// interleavePart does whole panels of pairWidth.
func interleavePart(dst []float32, stride int, low, high []byte) (n int) {
	if n = len(low) / (2 * pairWidth) * pairWidth; n == 0 || best() == generic {
		return 0
	}
	_, _ = dst[(n/pairWidth-1)*stride+pairWidth-1], high[2*n-1] // the assembly trusts the lengths
	interleaveAVX2(n, &dst[0], stride, &low[0], &high[0])
	return n
}

func widenBF16Part(dst []float32, src []byte, swapped bool) (n int) {
	switch n = len(dst) / 16 * 16; {
	case n == 0 || best() == generic:
		return 0
	case swapped:
		widenSwappedAVX2(n, &dst[0], &src[0])
	default:
		widenAVX2(n, &dst[0], &src[0])
	}
	return n
}
