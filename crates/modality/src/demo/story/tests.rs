use super::*;
#[test]
fn look() {
    let g = StoryGrammar::new();
    let m = g.measure;
    println!("{m:?} floor {}", m.entropy_nats / (m.mean_chars + 1.0));
    for i in 0..15 {
        println!("{}", g.grammar.sample(Dice::new(1, i)).0);
    }
    let mc: f64 = (0..20000).map(|i| -g.grammar.sample(Dice::new(2, i)).1).sum::<f64>() / 20000.0;
    println!("mc {mc}");
    let s = g.grammar.sample(Dice::new(2, 5));
    println!("{} {:?}", s.1, g.grammar.derivations(&s.0).log_probabilities);
    println!("{}", g.grammar.derivations(&s.0.replace("lived", "lives")).mistake.unwrap());
    if let Ok(path) = std::env::var("DUMP") {
        let t: String = (0..60000).map(|i| g.grammar.sample(Dice::new(7, i)).0 + "\n").collect();
        std::fs::write(path.clone() + ".txt", t).unwrap();
        let t: String = (0..512).map(|i| g.grammar.dump(Dice::new(8, i)) + "\n").collect();
        std::fs::write(path + ".val", t).unwrap();
    }
}
