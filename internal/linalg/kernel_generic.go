package linalg

import "unsafe"

// tileGeneric computes C[i,j] ← Σ_l a[l*rows+i]·b[l*nr+j] for i < rows and
// j < nr, l ascending from 0 to k-1, starting from +0 or from C, by fma; row
// i of C starts at c[i*ldc].
func tileGeneric[T Float](fma func(x, y, z T) T, rows, nr, k int, a, b, c *T, ldc int, accumulate bool) {
	as := unsafe.Slice(a, k*rows)
	bs := unsafe.Slice(b, k*nr)
	cs := unsafe.Slice(c, (rows-1)*ldc+nr)
	for i := range rows {
		row := cs[i*ldc:][:nr]
		if !accumulate {
			clear(row)
		}
		for l := range k {
			x := as[l*rows+i]
			for j, y := range bs[l*nr:][:nr] {
				row[j] = fma(x, y, row[j])
			}
		}
	}
}

// tiles runs i's kernel for count tiles side by side, at least one, of rows
// rows, one of the heights that tileRows returns. Their panels of B are stride
// elements apart.
func tiles[T Float](i isa, rows, k int, a, b, c *T, ldc, count, stride int, accumulate bool) {
	switch {
	case i == generic:
		tilesGeneric(fma[T], i, rows, k, a, b, c, ldc, count, stride, accumulate)
	case i == genericFlush:
		tilesGeneric(fmaFlush[T], i, rows, k, a, b, c, ldc, count, stride, accumulate)
	case narrow[T]():
		tile32(i, rows, k, (*float32)(unsafe.Pointer(a)), (*float32)(unsafe.Pointer(b)), (*float32)(unsafe.Pointer(c)), ldc, count, stride, accumulate)
	default:
		tile64(i, rows, k, (*float64)(unsafe.Pointer(a)), (*float64)(unsafe.Pointer(b)), (*float64)(unsafe.Pointer(c)), ldc, count, stride, accumulate)
	}
}

// tilesGeneric is tiles in plain Go.
func tilesGeneric[T Float](fma func(x, y, z T) T, i isa, rows, k int, a, b, c *T, ldc, count, stride int, accumulate bool) {
	_, nr := shape[T](i)
	bs := unsafe.Slice(b, (count-1)*stride+k*nr)
	cs := unsafe.Slice(c, (rows-1)*ldc+count*nr)
	for p := range count {
		tileGeneric(fma, rows, nr, k, a, &bs[p*stride], &cs[p*nr], ldc, accumulate)
	}
}
