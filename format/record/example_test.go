package record_test

import (
	"bytes"
	"fmt"

	"github.com/loratool/loratool/format/record"
)

func Example() {
	// One of five numbers takes two or three bits, one of one number none.
	var b record.Bits
	for _, v := range []uint64{3, 0, 4} {
		b.PutIndex(v, 4)
	}
	b.PutIndex(0, 0)
	fmt.Println(b.Len(), "bits")
	r := record.NewBitReader(b.Finish())
	fmt.Println(r.Index(4), r.Index(4), r.Index(4), r.Index(0), r.Err(true))

	var file bytes.Buffer
	w, err := record.NewWriter(&file)
	if err != nil {
		fmt.Println(err)
		return
	}
	blob, err := w.Put([]byte("indices"))
	fmt.Println(blob.At, blob.Len, err)
	// Output:
	// 8 bits
	// 3 0 4 0 <nil>
	// 8 7 <nil>
}
