use regun::config::{Request, load};
use regun::models::build;
use regun::train::Model;
use regun::unlearn::fisher::squared_gradients;
use tch::{Device, Kind, Tensor};
#[test]
fn speed() {
    let threads: i32 = std::env::var("T").unwrap().parse().unwrap();
    tch::set_num_threads(threads);
    let overrides = ["model=resnet".to_string(), "model.model.stem=cifar".to_string()];
    let config = load(&Request { overrides: &overrides, ..Request::default() }).unwrap().config;
    let a = build(&config.model.model).unwrap().into();
    let m = Model::initialise(&a, 3, "t", Kind::Float, Device::Cpu).unwrap();
    let x = Tensor::randn([16, 3, 32, 32], (Kind::Float, Device::Cpu));
    let y = Tensor::randint(10, [16], (Kind::Int64, Device::Cpu));
    squared_gradients(&m, &x, &y).unwrap();
    for _ in 0..5 {
        let c = std::time::Instant::now();
        squared_gradients(&m, &x, &y).unwrap();
        println!("ours {:.2}", 16.0 / c.elapsed().as_secs_f64());
    }
}
