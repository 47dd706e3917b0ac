package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
)

// table prints rows for people.
type table struct {
	w      io.Writer
	headed bool
}

const tableFormat = "%-22s %12s %-22s %12s %-22s %7s %-13s %s\n"

func (t *table) report(r row) error {
	if !t.headed {
		t.headed = true
		if _, err := fmt.Fprintf(t.w, tableFormat, "name", "figure", "(min-max)", "baseline", "(min-max)", "ratio", "(min-max)", "unit; ratio; baseline"); err != nil {
			return err
		}
	}
	note := r.unit + "; " + r.ratio.String()
	if r.note != "" {
		note += "; " + r.note
	}
	_, err := fmt.Fprintf(t.w, tableFormat, r.name,
		number(r.ours.median), between(r.ours, number),
		number(r.base.median), between(r.base, number),
		ratio(r.quotient.median), between(r.quotient, ratio), note)
	return err
}

func between(s spread, f func(float64) string) string {
	if s.low == s.high {
		return "" // one round
	}
	return "(" + f(s.low) + "-" + f(s.high) + ")"
}

// number prints whole numbers from 1,000 on, and three digits below.
func number(x float64) string {
	if x < 1000 {
		return strconv.FormatFloat(x, 'g', 3, 64)
	}
	s := strconv.FormatInt(int64(x+0.5), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func ratio(x float64) string {
	if x >= 100 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

// jsonLines prints rows for machines.
type jsonLines struct{ w io.Writer }

type jsonRow struct {
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Baseline float64 `json:"baseline"`
	Ratio    float64 `json:"ratio"`
}

func (j *jsonLines) report(r row) error {
	return json.NewEncoder(j.w).Encode(jsonRow{
		Name: r.name, Value: r.ours.median, Unit: r.unit, Baseline: r.base.median, Ratio: r.quotient.median,
	})
}
