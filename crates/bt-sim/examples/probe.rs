//! Scratch.
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let name = &args[1];
    let (a, b): (u64, u64) = (args[2].parse().unwrap(), args[3].parse().unwrap());
    let trace = args.len() > 4;
    let mut lasts = vec![];
    for seed in a..=b {
        let r = match bt_sim::scenarios::run(name, seed) { Ok(r) => r, Err(e) => { println!("{e}"); continue } };
        let mut f: Vec<u64> = r.finishers.iter().map(|f| f.finished.as_micros()/1000).collect();
        f.sort();
        let last = *f.last().unwrap();
        lasts.push(r.last_milli());
        if name.starts_with("riders") { let m = r.finishers.iter().filter(|f| !f.name.starts_with("rider")).map(|f| f.finished).max().unwrap(); let n = r.finishers.iter().filter(|f| f.name.starts_with("rider")).map(|f| f.finished).min().unwrap(); print!("contributors {m} riders {n} {} ", m < n); }
        let ups: std::collections::BTreeSet<u64> = r.finishers.iter().map(|f| f.up).collect();
        for up in ups { let mut f: Vec<u64> = r.finishers.iter().filter(|f| f.up==up).map(|f| f.finished.as_micros()/1000).collect(); f.sort(); print!("[{up}: med {}] ", f[f.len()/2]); }
        print!("ratio {} ", r.last_milli());
        println!("seed {seed}: first {} median {} last {} copies {} wasted% {:.2} hangups {} bad {} worst own {}", f[0], f[f.len()/2], last, r.seed_copies_milli, r.wasted as f64*100.0/r.payload as f64, r.hang_ups_for_fault, r.bad_pieces, r.finishers.iter().map(|f| (f.finished - f.joined).as_millis() as u64 * 1000 / r.ideal.as_millis() as u64).max().unwrap());
        if trace {
            let mut old = None::<&bt_sim::Sample>;
            for s in r.progress.iter().step_by(4) {
                let mut p = s.pieces.clone(); p.sort();
                if let Some(o) = old {
                    let dt = (s.at.as_micros()-o.at.as_micros()) as f64/1e6;
                    println!("{:7.1}s rate {:6.1} MB/s seed {:5.2} MB/s seeded {:6.3} spread {:4} min {:4} med {:4} max {:4}", s.at.as_micros() as f64/1e6, (s.payload-o.payload) as f64/dt/1e6, (s.from_seeds-o.from_seeds) as f64/dt/1e6, s.from_seeds as f64/268e6, s.spread, p[0], p[p.len()/2], p[p.len()-1]);
                }
                old = Some(s);
            }
        }
    }
    if lasts.is_empty() { return }
    lasts.sort();
    println!("median ratio {}", lasts[lasts.len()/2]);
}
