package text_test

import (
	"fmt"

	"github.com/loratool/loratool/internal/text"
)

func Example() {
	fmt.Println(text.Bytes(13_100_000), text.Count(3_400_000), text.Percent(0.992))
	fmt.Println(text.Quote("evil\u202ename"))
	fmt.Println(text.Nearest("q_prj", []string{"k_proj", "q_proj", "mlp"}, 1)[0])
	fmt.Print(text.HeatMap("", []string{"q_proj", "v_proj"}, []string{"0", "1", "2"},
		[][]float64{{1, 2, 3}, {4, 5, 6}}, text.HeatMapOptions{}))
	// Output:
	// 13.1 MB 3.4 M 99.2 %
	// "evil\u202ename"
	// q_proj
	//        0 1 2
	// q_proj 0 2 4
	// v_proj 6 8 9
	// 0  1.00 .. 9  6.00
}
