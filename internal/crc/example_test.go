package crc_test

import (
	"fmt"

	"github.com/loratool/loratool/internal/crc"
)

// The check values of both sums, as catalogues of them have it.
func Example() {
	castagnoli, ieee := crc.Update(0, 0, []byte("12345"))
	castagnoli, ieee = crc.Update(castagnoli, ieee, []byte("6789"))
	fmt.Printf("%08x %08x\n", castagnoli, ieee)
	// Output: e3069283 cbf43926
}
