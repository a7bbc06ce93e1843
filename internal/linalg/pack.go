package linalg

import "unsafe"

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
	switch {
	case src.RowStride == 1 && src.Rows == width:
		copyPanels(dst, width, 0, src.T(), 1)
		return
	case src.RowStride == 1:
		for k := range src.Cols {
			copy(dst[k*width:k*width+src.Rows], src.Data[k*src.ColStride:])
		}
		return
	}
	r := 0
	if src.Rows == 12 && width == 12 && src.ColStride == 1 && narrow[T]() {
		packTwelve(asFloat32(dst), asFloat32(src.Data), src.RowStride, src.Cols)
		return
	}
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

// copyPanels copies whole panels of a row-major matrix, each row end to end:
// dst[p*stride+r*width+j] = src(r, p*width+j). One panel at a time would touch
// a new page for each row.
func copyPanels[T Float](dst []T, width, stride int, src Mat[T], panels int) {
	if src.Rows == 0 || panels == 0 {
		return
	}
	words := 1 // float32 values in an element
	if !narrow[T]() {
		words = 2
	}
	if best() != generic && width*words%4 == 0 {
		dst = dst[:(panels-1)*stride+src.Rows*width] // the assembly trusts the lengths
		from := src.Data[:(src.Rows-1)*src.RowStride+panels*width]
		copyPanels32(src.Rows, panels, words*width, (*float32)(unsafe.Pointer(&dst[0])), words*stride, (*float32)(unsafe.Pointer(&from[0])), words*src.RowStride)
		return
	}
	for r := range src.Rows {
		for p := range panels {
			copy(dst[p*stride+r*width:][:width], src.Data[r*src.RowStride+p*width:])
		}
	}
}

// asFloat32 returns x, whose elements are float32, under that name.
func asFloat32[T Float](x []T) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

// pointer32 is asFloat32 of one element.
func pointer32[T Float](x *T) *float32 { return (*float32)(unsafe.Pointer(x)) }

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

// packTwelve interleaves the n first elements of twelve rows that are stride
// apart: dst[k*12+r] = src[r*stride+k].
func packTwelve(dst, src []float32, stride, n int) {
	done := 0
	if best() != generic {
		if done = n / 8 * 8; done > 0 {
			_, _ = dst[done*12-1], src[11*stride+done-1] // the assembly trusts the lengths
			packTwelve32(done, &dst[0], &src[0], stride)
		}
	}
	for r := range 12 {
		for k := done; k < n; k++ {
			dst[k*12+r] = src[r*stride+k]
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
	if src.ColStride == 1 {
		done = src.Cols / nr * nr
		copyPanels(dst, nr, src.Rows*nr, src, done/nr)
	}
	for j := done; j < src.Cols; j += nr {
		packPanel(dst[j*src.Rows:], src.View(0, j, src.Rows, min(nr, src.Cols-j)).T(), nr)
	}
}

// roundUp returns n rounded up to a multiple of m.
func roundUp(n, m int) int { return (n + m - 1) / m * m }
