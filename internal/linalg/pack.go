package linalg

// streams is the number of rows that packCols reads at once: few enough for
// the processor to fetch each ahead.
const streams = 4

// packPanel copies rows i0…i0+rows-1 of src, columns k0…k0+kc-1, into a
// panel of the given width: dst[k*width+r] = src(i0+r, k0+k), and 0 for
// r ≥ rows. The panels of B are those of its transpose.
func packPanel[T Float](dst []T, src Mat[T], i0, rows, width, k0, kc int) {
	if rows == 0 || kc == 0 {
		return
	}
	if rows < width {
		clear(dst[:kc*width])
	}
	from := src.Data[i0*src.RowStride+k0*src.ColStride:]
	if src.RowStride == 1 {
		for k := range kc {
			copy(dst[k*width:k*width+rows], from[k*src.ColStride:])
		}
		return
	}
	r := 0
	for ; r+4 <= rows && src.ColStride == 1; r += 4 {
		packFour(dst[r:], width, from[r*src.RowStride:], src.RowStride, kc)
	}
	for ; r < rows; r++ {
		row := from[r*src.RowStride:]
		for k := range kc {
			dst[k*width+r] = row[k*src.ColStride]
		}
	}
}

// packFour interleaves the kc first elements of four rows that are stride
// apart: dst[k*width+r] = src[r*stride+k].
func packFour[T Float](dst []T, width int, src []T, stride, kc int) {
	r0 := src[:kc]
	r1 := src[stride:][:kc]
	r2 := src[2*stride:][:kc]
	r3 := src[3*stride:][:kc]
	for k := range r0 {
		d := dst[k*width:][:4]
		d[0], d[1], d[2], d[3] = r0[k], r1[k], r2[k], r3[k]
	}
}

// packRows packs all rows of src, columns k0…k0+kc-1, into panels of the
// heights that i's kernels take, one after the other.
func packRows[T Float](dst []T, i isa, src Mat[T], k0, kc int) {
	for r := 0; r < src.Rows; {
		h := i.tileRows(src.Rows - r)
		packPanel(dst, src, r, min(h, src.Rows-r), h, k0, kc)
		dst = dst[h*kc:]
		r += h
	}
}

// packCols packs all columns of src, rows k0…k0+kc-1, into panels of nr
// columns, one after the other.
func packCols[T Float](dst []T, nr int, src Mat[T], k0, kc int) {
	if src.ColStride != 1 || src.Cols < 2*nr {
		for j := 0; j < src.Cols; j += nr {
			packPanel(dst[j*kc:], src.T(), j, min(nr, src.Cols-j), nr, k0, kc)
		}
		return
	}
	whole := src.Cols / nr * nr
	for k := 0; k < kc; k += streams {
		rows := src.Data[(k0+k)*src.RowStride:]
		for j := 0; j < whole; j += nr {
			to := dst[j*kc+k*nr:]
			for r := range min(streams, kc-k) {
				copy(to[r*nr:][:nr], rows[r*src.RowStride+j:])
			}
		}
	}
	packPanel(dst[whole*kc:], src.T(), whole, src.Cols-whole, nr, k0, kc)
}

// roundUp returns n rounded up to a multiple of m.
func roundUp(n, m int) int { return (n + m - 1) / m * m }
