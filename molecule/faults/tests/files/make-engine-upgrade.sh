# Makes packages of the engine in /root/upgrade, of a higher version with the same programs: Debian offers only one
# version at a time.
mkdir /root/upgrade
cd /root/upgrade
apt-get update -qq
for package in docker.io containerd; do
    version=$(dpkg-query --show --showformat '${Version}' $package)
    apt-get download -qq -o APT::Sandbox::User=root "$package=${version%+upgrade*}" 2>&1
    dpkg-deb --raw-extract $package*.deb $package
    sed -i "s/^Version: .*/&+upgrade$(date +%s)/" $package/DEBIAN/control
    rm $package*.deb
    dpkg-deb -Znone --build $package $package.deb
done
