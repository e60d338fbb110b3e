use ride_testkit::*;
use std::time::Duration;
#[tokio::test]
async fn probe() {
    let (telegram, anthropic) = (
        Telegram::start().await.unwrap(),
        Anthropic::start().await.unwrap(),
    );
    let mut g = Gateway::builder(&telegram, &anthropic)
        .version(&std::env::var("V").unwrap())
        .start()
        .await
        .unwrap();
    let place = Place::topic(-1_002_222_222_222, "Forum", 7, "Plans");
    let t = Duration::from_secs(60);
    telegram.says(&Person::tess(), &place, "first words");
    telegram
        .wait_for(&place, t, |c| c.by_bot().len() == 1)
        .await
        .unwrap();
    telegram.says(&Person::omar(), &place, "second words");
    telegram
        .wait_for(&place, t, |c| c.by_bot().len() == 2)
        .await
        .unwrap();
    println!("{}", telegram.view());
    for r in anthropic.turns() {
        println!("{r}");
    }
    g.stop().await;
}
