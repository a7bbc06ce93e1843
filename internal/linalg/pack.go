package linalg

import "unsafe"

// streams is the number of rows that packCols reads at once: enough to write
// whole cache lines in a row, few enough for the processor to fetch them
// ahead. 4 is the fastest of 2, 4, 8 and 16 on a Zen 4 core.
const streams = 4

// packPanel copies src into a panel of the given width, column by column:
// dst[k*width+r] = src(r, k), and 0 for r ≥ src.Rows. The panels of B are
// those of its transpose.
func packPanel[T Float](dst []T, src Mat[T], width int) {
	if src.Rows == 0 || src.Cols == 0 {
		return
	}
	if src.Rows < width {
		clear(dst[:src.Cols*width])
	}
	if src.RowStride == 1 {
		for k := range src.Cols {
			copy(dst[k*width:k*width+src.Rows], src.Data[k*src.ColStride:])
		}
		return
	}
	r := 0
	for ; r+8 <= src.Rows && src.ColStride == 1 && narrow[T](); r += 8 {
		packEight(asFloat32(dst[r:]), asFloat32(src.Data[r*src.RowStride:]), width, src.RowStride, src.Cols)
	}
	for ; r+4 <= src.Rows && src.ColStride == 1; r += 4 {
		packFour(dst[r:], src.Data[r*src.RowStride:], width, src.RowStride, src.Cols)
	}
	for ; r < src.Rows; r++ {
		row := src.Data[r*src.RowStride:]
		for k := range src.Cols {
			dst[k*width+r] = row[k*src.ColStride]
		}
	}
}

// asFloat32 returns x, whose elements are float32, under that name.
func asFloat32[T Float](x []T) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

// packEight interleaves the n first elements of eight rows that are stride
// apart: dst[k*width+r] = src[r*stride+k].
func packEight(dst, src []float32, width, stride, n int) {
	done := 0
	if best() != generic {
		if done = n / 8 * 8; done > 0 {
			_, _ = dst[(done-1)*width+7], src[7*stride+done-1] // the assembly trusts the lengths
			packEight32(done, &dst[0], width, &src[0], stride)
		}
	}
	for r := range 8 {
		for k := done; k < n; k++ {
			dst[k*width+r] = src[r*stride+k]
		}
	}
}

// packFour interleaves the n first elements of four rows that are stride
// apart: dst[k*width+r] = src[r*stride+k].
func packFour[T Float](dst, src []T, width, stride, n int) {
	r0 := src[:n]
	r1 := src[stride:][:n]
	r2 := src[2*stride:][:n]
	r3 := src[3*stride:][:n]
	for k := range r0 {
		d := dst[k*width:][:4]
		d[0], d[1], d[2], d[3] = r0[k], r1[k], r2[k], r3[k]
	}
}

// packRows packs src into panels of the heights that i's kernels take, one
// after the other.
func packRows[T Float](dst []T, i isa, src Mat[T]) {
	for r := 0; r < src.Rows; {
		h := i.tileRows(src.Rows - r)
		packPanel(dst[r*src.Cols:], src.View(r, 0, min(h, src.Rows-r), src.Cols), h)
		r += h
	}
}

// packCols packs src into panels of nr columns, one after the other.
func packCols[T Float](dst []T, nr int, src Mat[T]) {
	done := 0
	if src.ColStride == 1 && src.Cols >= 2*nr {
		done = src.Cols / nr * nr
		packWide(dst, nr, src.View(0, 0, src.Rows, done))
	}
	for j := done; j < src.Cols; j += nr {
		packPanel(dst[j*src.Rows:], src.View(0, j, src.Rows, min(nr, src.Cols-j)).T(), nr)
	}
}

// packWide is packCols for a row-major matrix of whole panels. It reads rows
// from end to end; one panel at a time would touch a new page for each row.
func packWide[T Float](dst []T, nr int, src Mat[T]) {
	for k := 0; k < src.Rows; k += streams {
		rows := src.Data[k*src.RowStride:]
		for j := 0; j < src.Cols; j += nr {
			to := dst[j*src.Rows+k*nr:]
			for r := range min(streams, src.Rows-k) {
				copy(to[r*nr:][:nr], rows[r*src.RowStride+j:])
			}
		}
	}
}

// roundUp returns n rounded up to a multiple of m.
func roundUp(n, m int) int { return (n + m - 1) / m * m }
