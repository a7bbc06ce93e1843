package safetensors

import (
	"io"

	"github.com/loratool/loratool/format/dtype"
	nlp "github.com/nlpodyssey/safetensors"
)

// nlpTypes are the dtypes that nlpodyssey/safetensors knows.
var nlpTypes = map[dtype.DType]nlp.DType{
	dtype.BOOL: nlp.BOOL, dtype.U8: nlp.U8, dtype.I8: nlp.I8,
	dtype.I16: nlp.I16, dtype.U16: nlp.U16, dtype.F16: nlp.F16, dtype.BF16: nlp.BF16,
	dtype.I32: nlp.I32, dtype.U32: nlp.U32, dtype.F32: nlp.F32,
	dtype.F64: nlp.F64, dtype.I64: nlp.I64, dtype.U64: nlp.U64,
}

// portable reports whether the library can write all of the tensors.
func portable(tensors []NamedData) bool {
	for _, t := range tensors {
		if _, ok := nlpTypes[t.DType]; !ok {
			return false
		}
	}
	return true
}

// writePortable hands the tensors to the library. It writes files that it
// cannot read back from names, shapes and lengths that disagree, without an
// error, so Write checks them before.
func writePortable(w io.Writer, tensors map[string]NamedData, metadata map[string]string) error {
	views := make(map[string]view, len(tensors))
	for name, t := range tensors {
		views[name] = view{t}
	}
	return nlp.SerializeToWriter(views, metadata, w)
}

// A view is a tensor as the library wants it.
type view struct{ t NamedData }

func (v view) DType() nlp.DType { return nlpTypes[v.t.DType] }
func (v view) Data() []byte     { return v.t.Data }
func (v view) DataLen() uint64  { return uint64(len(v.t.Data)) }

// Shape is never nil, which the library would write as null.
func (v view) Shape() []uint64 {
	shape := make([]uint64, len(v.t.Shape))
	for i, n := range v.t.Shape {
		shape[i] = uint64(n)
	}
	return shape
}
