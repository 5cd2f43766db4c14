# doc/plots/dht.gp - the figures of doc/benchmarks.md's section on the simulated DHT.
#
#   hanse sim --scenario dht ... --plot doc/plots      adds rows to doc/plots/reads.dat, curves.dat and churn.dat
#   gnuplot doc/plots/dht.gp                           makes doc/dht-hops.svg, doc/dht-latency.svg, doc/dht-liars.svg and
#                                                      doc/dht-churn.svg of them
#
# reads.dat: nodes, stale %, liars %, reads, found, hops (mean, most), questions, first value and whole read (p50, p90, p99 each, ms)
# churn.dat: nodes, mean life (min), reads, found, those of writers that left, found, lost, hops (mean, most), questions, first value
#            and whole read (p50, p90, p99 each, ms), datagrams and bytes a node a second, unanswered %, kB a node before and after
# curves.dat: nodes, stale %, liars %, percent of the reads, ms until they had their first value

reads(stale) = sprintf("< awk '$2 == %d && $3 == 0' doc/plots/reads.dat | sort -n -u -k1,1", stale)
curve(n, stale) = sprintf("< awk '$1 == %d && $2 == %d && $3 == 0' doc/plots/curves.dat", n, stale)

set terminal svg size 640,400 font "sans-serif,13" background "white"
set key left top
set grid

set output "doc/dht-hops.svg"
set xlabel "nodes"
set ylabel "questions one after the other"
set logscale x
set xrange [500:200000]
set yrange [0:5]
plot 0.7 * log10(x) + 0.5 title "0.7 log_{10} N + 0.5" with lines lc "gray" dt 2, \
     reads(0) using 1:6 title "nobody vanished" with linespoints pt 7, \
     reads(20) using 1:6 title "20 % just vanished" with linespoints pt 5, \
     reads(40) using 1:6 title "40 %" with linespoints pt 9

set output "doc/dht-latency.svg"
unset logscale x
set key right bottom
set xlabel "ms until the first value"
set ylabel "% of the reads"
set xrange [0:800]
set yrange [0:100]
plot curve(1000, 20) using 5:4 title "1000 nodes, 20 % stale" with lines lw 2, \
     curve(10000, 20) using 5:4 title "10,000 nodes, 20 %" with lines lw 2, \
     curve(100000, 20) using 5:4 title "100,000 nodes, 20 %" with lines lw 2, \
     curve(10000, 40) using 5:4 title "10,000 nodes, 40 %" with lines lw 2 dt 2

set output "doc/dht-liars.svg"
set key left bottom
set xlabel "liars, % of all nodes"
set ylabel "% of first reads that find their record"
set xrange [0:55]
set yrange [90:100.5]
plot "< awk '$1 == 2000 && $2 == 0' doc/plots/reads.dat | sort -n -k3,3" using 3:(100.0 * $5 / $4) title "2000 nodes" with linespoints pt 7

churn(n) = sprintf("< awk '$1 == %d' doc/plots/churn.dat | sort -n -u -k2,2", n)

set output "doc/dht-churn.svg"
set key right top
set xlabel "minutes that a node stays on average"
set ylabel "ms until the first value"
set y2label "% of all questions that nobody answers"
set logscale x
set xtics (5, 10, 15, 30, 60)
set xrange [4:75]
set yrange [0:600]
set ytics nomirror
set y2range [0:60]
set y2tics
plot churn(2000) using 2:13 title "2000 nodes, p99" with linespoints lc 1 pt 5, \
     churn(2000) using 2:12 title "p90" with linespoints lc 1 pt 9, \
     churn(2000) using 2:11 title "p50" with linespoints lc 1 pt 7, \
     churn(10000) using 2:13 title "10,000 nodes, p99" with linespoints lc 2 pt 5, \
     churn(10000) using 2:12 title "p90" with linespoints lc 2 pt 9, \
     churn(10000) using 2:11 title "p50" with linespoints lc 2 pt 7, \
     churn(2000) using 2:19 axes x1y2 title "unanswered, %, 2000 nodes" with linespoints lc "gray" dt 2 pt 6
