use super::*;

fn categories(codes: &[u32]) -> Values {
    Values::Categorical { codes: codes.to_vec(), labels: ["a", "b", "c"].map(str::to_owned).to_vec().into() }
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9, "{a} {b}");
}

#[test]
fn shapes_are_those_of_sdmetrics() {
    // sdmetrics 0.32: KSComplement.compute([1, 2, 3, 4, nan], [1, 1, 2, 5]), TVComplement.compute(list("aabc"), list("abbb")).
    let real = Values::Numeric(vec![1.0, 2.0, 3.0, 4.0, f64::NAN]);
    close(column_shape(&real, &Values::Numeric(vec![1.0, 1.0, 2.0, 5.0])).unwrap(), 0.75);
    close(column_shape(&categories(&[0, 0, 1, 2]), &categories(&[0, 1, 1, 1])).unwrap(), 0.5);
    assert_eq!(column_shape(&real, &Values::Numeric(vec![f64::NAN])), None);
}

#[test]
fn trends_are_those_of_sdmetrics() {
    let (x, y) = (vec![1.0, 2.0, 3.0, 4.0], vec![2.0, 4.0, 6.0, 8.0]);
    let down = Values::Numeric(y.iter().rev().copied().collect());
    let (x, y) = (Values::Numeric(x), Values::Numeric(y));
    close(pair_trend((&x, &y), (&x, &down)).unwrap(), 0.0);
    close(pair_trend((&x, &y), (&x, &y)).unwrap(), 1.0);
    assert_eq!(pair_trend((&x, &Values::Numeric(vec![1.0; 4])), (&x, &y)), None, "a constant goes with nothing");
    let (a, b) = (categories(&[0, 0, 1, 1]), categories(&[0, 1, 1, MISSING]));
    close(pair_trend((&a, &a), (&a, &b)).unwrap(), 0.5);
    // A number beside a category is cut into ten bins of its own table.
    let far = Values::Numeric(vec![100.0, 200.0, 300.0, 400.0]);
    close(pair_trend((&x, &a), (&far, &a)).unwrap(), 1.0);
}

#[test]
fn related_columns_are_those_that_sdmetrics_counts() {
    // scipy.stats.contingency.association of [[3, 1], [1, 3]] is 0.5, of [[2, 2], [2, 2]] is 0.
    let (a, b) = (categories(&[0, 0, 0, 0, 1, 1, 1, 1]), categories(&[0, 0, 0, 1, 0, 1, 1, 1]));
    assert!(is_related(&a, &b));
    assert!(!is_related(&a, &categories(&[0, 1, 0, 1, 0, 1, 0, 1])));
    assert!(!is_related(&a, &categories(&[0; 8])), "what does not vary is related to nothing");
    let numbers = |values: [f64; 4]| Values::Numeric(values.to_vec());
    assert!(is_related(&numbers([1.0, 2.0, 3.0, 4.0]), &numbers([4.0, 3.0, 2.0, 2.0])));
    assert!(!is_related(&numbers([1.0, 2.0, 3.0, 4.0]), &numbers([1.0, -1.0, -1.0, 1.0])));
}

#[test]
fn areas_count_ties_half() {
    close(auc(&[0.1, 0.2, 0.8, 0.9], &[0.0, 0.0, 1.0, 1.0]).unwrap(), 1.0);
    close(auc(&[0.5; 4], &[0.0, 0.0, 1.0, 1.0]).unwrap(), 0.5);
    close(auc(&[0.9, 0.2, 0.8, 0.2], &[0.0, 0.0, 1.0, 1.0]).unwrap(), 0.375);
    assert_eq!(auc(&[0.1], &[1.0]), None);
}

/// y is 1 where x is above 50, whatever the noise says.
fn task(n: usize, seed: u64) -> Table {
    let stream = crate::rng::Stream::new(seed, 7);
    let x: Vec<f64> = (0..n).map(|i| stream.below(100, i) as f64).collect();
    let noise = categories(&(0..n).map(|i| stream.below(3, n + i) as u32).collect::<Vec<_>>());
    let y = categories(&x.iter().map(|&x| u32::from(x > 50.0)).collect::<Vec<_>>());
    let columns = vec![("x".into(), Values::Numeric(x)), ("noise".into(), noise), ("y".into(), y)];
    Table { columns, ..Table::default() }
}

#[test]
fn trees_learn_what_can_be_learned() {
    let (train, test) = (task(2000, 1), task(500, 2));
    let Some(Usefulness::Auc(area)) = usefulness(&train, &test, 2) else { panic!("two classes are a task") };
    assert!(area > 0.999, "{area}");
    let Some(Usefulness::Auc(area)) = usefulness(&train, &test, 1) else { panic!("three classes are a task") };
    assert!((area - 0.5).abs() < 0.08, "noise cannot be learned: {area}");
    let Some(Usefulness::R2(share)) = usefulness(&train, &test, 0) else { panic!("a number is a task") };
    assert!((0.7..0.8).contains(&share), "y explains three quarters of a uniform x: {share}");
}

#[test]
fn a_discriminator_tells_tables_apart_only_where_they_differ() {
    let (a, b, mut c) = (task(2000, 1), task(2000, 2), task(2000, 3));
    assert!((discriminator_auc(&a, &b, 1).unwrap() - 0.5).abs() < 0.05);
    c.columns[0].1 = Values::Numeric(vec![50.0; 2000]);
    assert!(discriminator_auc(&a, &c, 1).unwrap() > 0.95);
}

#[test]
fn copies_and_near_copies_show() {
    let mut train = task(400, 1);
    train.columns.push(("z".into(), Values::Numeric((0..400).map(|i| (i * i) as f64).collect())));
    let mut holdout = task(400, 2);
    holdout.columns.push(("z".into(), Values::Numeric((0..400).map(|i| (i * i) as f64 + 0.5).collect())));
    assert_eq!(n_copies(&train, &train), 400);
    assert_eq!(n_copies(&holdout, &train), 0);
    let leaked = closest(&train, &holdout, &train, 1).unwrap();
    assert!(leaked.share_closer_to_training > 0.95 && leaked.membership_auc > 0.95, "{leaked:?}");
    let fresh = closest(&train, &holdout, &holdout, 1).unwrap();
    assert!(fresh.share_closer_to_training < 0.05 && fresh.membership_auc < 0.05, "{fresh:?}");
}
