package diff

import (
	"fmt"

	"github.com/loratool/loratool/format/adapter/names"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
)

// A laid is a parameter of the model in memory whose elements lie in several
// tensors of a checkpoint, or in another order: a stack of matrices, or one.
type laid struct {
	dtype      dtype.DType
	rows, cols int // of one matrix
	planes     [][]strip
	tensors    []safetensors.Tensor
	shards     []int // of the tensors
}

// A strip is a rectangle of a matrix whose elements are at first + i·rowStep +
// j·colStep of a tensor.
type strip struct {
	row, col         names.Span
	bytes            []byte
	first            int
	rowStep, colStep int
}

// layOut finds the elements of a parameter in a checkpoint. The error says why
// they make no matrix.
func layOut(c *checkpoint.Checkpoint, p names.Parameter) (*laid, error) {
	l := &laid{}
	planes := 1
	if len(p.Shape) == 3 {
		planes, l.rows, l.cols = p.Shape[0], p.Shape[1], p.Shape[2]
	} else {
		l.rows, l.cols = matrix(p.Shape)
	}
	l.planes = make([][]strip, planes)
	seen, found := map[string]int{}, 0
	for _, b := range p.Blocks {
		at, ok := seen[b.Tensor]
		if !ok {
			shard, t, _ := c.Lookup(b.Tensor)
			at, seen[b.Tensor] = len(l.tensors), len(l.tensors)
			l.tensors, l.shards = append(l.tensors, t), append(l.shards, shard)
		}
		t := l.tensors[at]
		if l.dtype = t.DType; l.dtype != l.tensors[0].DType {
			return l, fmt.Errorf("parts of different dtypes, %s and %s", l.tensors[0].DType, l.dtype)
		}
		if l.dtype.Bits()%8 != 0 {
			return l, fmt.Errorf("dtype %s in parts", l.dtype)
		}
		found += b.Row.Len * b.Col.Len
		l.planes[b.Stack] = append(l.planes[b.Stack], newStrip(b, t.Shape, c.Bytes(l.shards[at], t)))
	}
	if found != planes*l.rows*l.cols {
		return l, fmt.Errorf("%d elements for a parameter of shape %v", found, p.Shape)
	}
	return l, nil
}

func newStrip(b names.Block, shape []int, bytes []byte) strip {
	_, cols := matrix(shape)
	s := strip{row: b.Row, col: b.Col, bytes: bytes}
	if b.Expert >= 0 && len(shape) == 3 {
		cols = shape[2]
		s.first = b.Expert * shape[1] * cols
	}
	s.first += b.DiskRow.First*cols + b.DiskCol.First
	s.rowStep, s.colStep = b.DiskRow.Step*cols, b.DiskCol.Step
	if b.Transposed {
		s.rowStep, s.colStep = s.colStep, s.rowStep
	}
	return s
}

// tensor describes the parameter as if it were one tensor of the file.
func (l *laid) tensor(p names.Parameter) safetensors.Tensor {
	t := safetensors.Tensor{Name: p.Name, Shape: p.Shape, DType: l.dtype}
	if len(l.tensors) > 0 {
		t.Begin = l.tensors[0].Begin
	}
	t.End = t.Begin + int64(t.Elements())*int64(l.dtype.Bits()/8)
	return t
}

// decodeLaid computes len(x) elements from the given one on, all matrices one
// after another.
func decodeLaid[T float32 | float64](l *laid, x []T, first int, decode func([]T, []byte)) {
	for len(x) > 0 {
		at := first % (l.rows * l.cols)
		row, col := at/l.cols, at%l.cols
		n := min(len(x), l.cols-col)
		left := n
		for _, s := range l.planes[first/(l.rows*l.cols)] {
			if left -= decodeStrip(s, l.dtype.Bits()/8, x[:n], row, col, decode); left == 0 {
				break
			}
		}
		x, first = x[n:], first+n
	}
}

// decodeStrip computes those of the elements of a row, from col on, that the
// strip has, and returns how many these are.
func decodeStrip[T float32 | float64](s strip, width int, x []T, row, col int, decode func([]T, []byte)) int {
	i := row - s.row.First
	if i < 0 || i%s.row.Step != 0 || i/s.row.Step >= s.row.Len {
		return 0
	}
	from := max(0, ceil(col-s.col.First, s.col.Step))
	until := min(s.col.Len, ceil(col+len(x)-s.col.First, s.col.Step))
	if from >= until {
		return 0
	}
	at, to := s.first+i/s.row.Step*s.rowStep+from*s.colStep, s.col.First+from*s.col.Step-col
	if s.colStep == 1 && s.col.Step == 1 {
		decode(x[to:to+until-from], s.bytes[at*width:(at+until-from)*width])
		return until - from
	}
	const most = 64
	var raw [8 * most]byte
	var values [most]T
	for j := from; j < until; j += most {
		n := min(most, until-j)
		for k := range n {
			copy(raw[k*width:(k+1)*width], s.bytes[(at+k*s.colStep)*width:])
		}
		decode(values[:n], raw[:n*width])
		for k, v := range values[:n] {
			x[to+k*s.col.Step] = v
		}
		at, to = at+n*s.colStep, to+n*s.col.Step
	}
	return until - from
}

// ceil returns ⌈a/b⌉ for positive b; at most 0 for negative a.
func ceil(a, b int) int {
	if a <= 0 {
		return 0
	}
	return (a + b - 1) / b
}

// gather returns the bytes of the parameter as they would lie in one tensor.
func (l *laid) gather() []byte {
	width := l.dtype.Bits() / 8
	out := make([]byte, len(l.planes)*l.rows*l.cols*width)
	for e, strips := range l.planes {
		for _, s := range strips {
			for i := range s.row.Len {
				from := s.first + i*s.rowStep
				to := (e*l.rows+s.row.First+i*s.row.Step)*l.cols + s.col.First
				if s.colStep == 1 && s.col.Step == 1 {
					copy(out[to*width:], s.bytes[from*width:(from+s.col.Len)*width])
					continue
				}
				for j := range s.col.Len {
					copy(out[(to+j*s.col.Step)*width:], s.bytes[(from+j*s.colStep)*width:][:width])
				}
			}
		}
	}
	return out
}
